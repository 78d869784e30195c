"""Pairs of noise and the image the teacher makes of it: made once for a teacher, cached, and their cost charged to every user."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.budget import measure
from bench.checkpoint import load_tensors, save_tensors, tensors_digest
from bench.errors import UsageError
from bench.evaluate import batch_size
from bench.files import cache_folder
from bench.method import TeacherPairs
from bench.sampler import Sampler
from bench.seeds import seeded_noise
from bench.teacher import Teacher

FIRST_SEED = 2**31
"""Seeds of the pairs start here (the CPU generator keeps 32 bits), so that no pair is an image of an evaluation."""
PART = 5000
"""Pairs in one file of the cache."""


class PairStream:
    """The teacher's pairs on a device, with the compute that making them cost, whether they were just made or cached."""

    def __init__(self, z: Tensor, images: Tensor, labels: Tensor | None, flops: int, seconds: float) -> None:
        self.z, self.images, self.labels = z, images, labels
        self.flops, self.seconds = flops, seconds

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """``count`` pairs drawn uniformly with the training random state: noise, images, labels."""
        chosen = torch.randint(len(self.z), (count,), device=self.z.device)
        return self.z[chosen], self.images[chosen], None if self.labels is None else self.labels[chosen]


def teacher_pairs(teacher: Teacher, wanted: TeacherPairs, device: torch.device) -> Generator[int, None, PairStream]:
    """The pairs a method requires, from the cache or from the teacher's sampler; yields how many there are so far.

    They are kept in parts as they are made, so that making them continues where it was stopped.
    """
    folder = cache_folder() / "pairs" / _key(teacher, wanted, device)
    parts, flops, seconds = [], 0, 0.0
    for first in range(0, wanted.count, PART):
        seeds = range(FIRST_SEED + first, FIRST_SEED + min(first + PART, wanted.count))
        file = folder / f"{first:09d}.safetensors"
        part = _cached(file)
        if part is None:
            tensors, cost, time_taken = yield from _make(teacher, seeds, wanted.steps, device)
            part = tensors, {"flops": cost, "seconds": time_taken, "digest": tensors_digest(tensors)}
            save_tensors(file, *part)
        parts.append(part[0])
        flops += part[1]["flops"]
        seconds += part[1]["seconds"]
    joined = {name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]}
    return PairStream(joined["z"], joined["images"], joined.get("labels"), flops, seconds)


def _key(teacher: Teacher, wanted: TeacherPairs, device: torch.device) -> str:
    """Names everything that the images, or the time they took, depend on."""
    arithmetic = device.type, torch.backends.cuda.matmul.allow_tf32, getattr(teacher.denoiser, "half_type", None)
    identity = repr((teacher.digest(), type(teacher).__name__, teacher.noise, teacher.images, wanted, FIRST_SEED, arithmetic))
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _cached(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """A part that was made before; None for one that is not there or is damaged, which is made again."""
    with suppress(UsageError):
        tensors, meta = load_tensors(file)
        if meta.get("digest") == tensors_digest(tensors):
            return tensors, meta
    return None


def _make(
    teacher: Teacher, seeds: range, steps: int, device: torch.device
) -> Generator[int, None, tuple[dict[str, Tensor], int, float]]:
    noise, images, all_labels, flops = [], [], [], 0
    started = time.perf_counter()
    at_once = batch_size(teacher.images, device)
    for first in range(0, len(seeds), at_once):
        z, labels = seeded_noise(seeds[first : first + at_once], teacher.images)
        made, cost = sample_measured(teacher, z.to(device), None if labels is None else labels.to(device), steps)
        flops += cost
        noise.append(z)
        images.append(made.cpu())
        all_labels += [] if labels is None else [labels]
        yield seeds.start - FIRST_SEED + first + len(z)
    tensors = {"z": torch.cat(noise), "images": torch.cat(images)} | ({"labels": torch.cat(all_labels)} if all_labels else {})
    return tensors, flops, time.perf_counter() - started


@torch.no_grad()
def sample_measured(teacher: Teacher, z: Tensor, labels: Tensor | None, steps: int) -> tuple[Tensor, int]:
    """The teacher's images of ``z``, and the operations that they cost."""
    made: list[Tensor] = []
    cost = measure(lambda: made.append(teacher.sample(z, labels, Sampler(steps))), {})
    return made[0], cost.flops
