"""Pairs of noise and the image the teacher makes of it: made once for a teacher, cached, and their cost charged to every user."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.budget import measure
from bench.checkpoint import load_tensors, save_tensors
from bench.errors import UsageError
from bench.files import cache_folder
from bench.method import TeacherPairs
from bench.protocol import seeded_noise
from bench.teacher import Teacher

FIRST_SEED = 2**31
"""Seeds of the pairs start here (the CPU generator keeps 32 bits), so that no pair is an image of an evaluation."""
_BATCH = 500


class PairStream:
    """The teacher's pairs on a device, with the compute that making them cost, whether they were just made or cached."""

    def __init__(self, z: Tensor, images: Tensor, labels: Tensor | None, flops: int, seconds: float) -> None:
        self.z, self.images, self.labels = z, images, labels
        self.flops, self.seconds = flops, seconds

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """``count`` pairs drawn uniformly with the training random state: noise, images, labels."""
        chosen = torch.randint(len(self.z), (count,), device=self.z.device)
        return self.z[chosen], self.images[chosen], None if self.labels is None else self.labels[chosen]


def teacher_pairs(
    teacher: Teacher, wanted: TeacherPairs, device: torch.device, report: Callable[[int], None] = lambda done: None
) -> PairStream:
    """The pairs a method requires, from the cache or from the teacher's sampler; ``report(done)`` follows the making."""
    key = hashlib.sha256(f"{teacher.digest()} {wanted.count} {wanted.steps} {FIRST_SEED}".encode()).hexdigest()[:16]
    file = cache_folder() / "pairs" / f"{key}.safetensors"
    if file.exists():
        try:
            tensors, meta = load_tensors(file)
        except UsageError:
            file.unlink()  # a damaged cache is made again
        else:
            return _stream(tensors, meta["flops"], meta["seconds"], device)
    tensors, flops, seconds = _make(teacher, wanted, device, report)
    save_tensors(file, tensors, {"flops": flops, "seconds": seconds, "steps": wanted.steps, "first_seed": FIRST_SEED})
    return _stream(tensors, flops, seconds, device)


def _stream(tensors: dict[str, Tensor], flops: int, seconds: float, device: torch.device) -> PairStream:
    on_device = {name: t.to(device) for name, t in tensors.items()}
    return PairStream(on_device["z"], on_device["images"], on_device.get("labels"), flops, seconds)


def _make(
    teacher: Teacher, wanted: TeacherPairs, device: torch.device, report: Callable[[int], None]
) -> tuple[dict[str, Tensor], int, float]:
    noise, images, all_labels = [], [], []
    flops_per_image, started = 0.0, time.perf_counter()
    for first in range(0, wanted.count, _BATCH):
        seeds = range(FIRST_SEED + first, FIRST_SEED + min(first + _BATCH, wanted.count))
        z, labels = (None if t is None else t.to(device) for t in seeded_noise(seeds, teacher.images))
        assert z is not None
        with torch.no_grad():
            if first == 0:
                made: list[Tensor] = []
                cost = measure(lambda: made.append(teacher.sample(z, labels, wanted.steps)), {})  # noqa: B023
                flops_per_image = cost.flops / len(z)
                images.append(made[0].cpu())
            else:
                images.append(teacher.sample(z, labels, wanted.steps).cpu())
        noise.append(z.cpu())
        all_labels += [] if labels is None else [labels.cpu()]
        report(first + len(z))
    tensors = {"z": torch.cat(noise), "images": torch.cat(images)} | ({"labels": torch.cat(all_labels)} if all_labels else {})
    return tensors, round(flops_per_image * wanted.count), time.perf_counter() - started
