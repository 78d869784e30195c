"""Pairs of noise and the image that the teacher makes of it: made once, cached, and their cost
charged to every run.
"""

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.environment import device_name
from bench.errors import UsageError
from bench.evaluation.sampling import batch_size, seeded_noise
from bench.files.atomic import cache_folder, locked
from bench.files.tensors import load_sealed, save_sealed
from bench.plugin.requirement import TeacherPairs
from bench.plugin.sampler import Sampler
from bench.plugin.teacher import Teacher
from bench.runs.events import Observer, Working, ignore
from bench.training.cost import measure
from bench.training.fingerprint import teacher_code
from bench.training.real_images import RESIDENT_BYTES

FIRST_SEED = 2**31
"""Seeds of the pairs start here (the CPU generator keeps 32 bits), so that no pair is an image of
an evaluation.
"""
PART = 5000
"""Pairs in one file of the cache."""
Part = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors of some of the pairs, and what making them cost."""


class PairStream:
    """The teacher's pairs, with the compute that making them cost, whether they were just made or cached.

    They lie on the device, or on the host if they are many.
    """

    def __init__(
        self,
        z: Tensor,
        images: Tensor,
        labels: Tensor | None,
        flops: int,
        seconds: float,
        device: torch.device | None = None,
    ) -> None:
        self.z, self.images, self.labels = z, images, labels
        self.flops, self.seconds, self.device = flops, seconds, device or z.device

    def sample(self, count: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor | None]:
        """Sample ``count`` pairs uniformly with the training random state, and return these rows of them:
        noise, images, labels.
        """
        chosen = torch.randint(len(self.z), (count,), device=self.z.device)[rows]
        z, images = self.z[chosen].to(self.device), self.images[chosen].to(self.device)
        return z, images, None if self.labels is None else self.labels[chosen].to(self.device)


def teacher_pairs(
    teacher: Teacher, required: TeacherPairs, device: torch.device, observe: Observer = ignore
) -> PairStream:
    """Return the pairs that a method requires, from the cache or from the teacher's sampler.

    They are kept in parts of 5,000 as they are made, so that making them continues with the part
    where it was stopped. Of two processes that need the same part one makes it and the other waits.
    """

    def tell(made: int) -> None:
        observe(
            Working(f"pairs of noise and image, {required.steps} Heun steps each", made, required.count)
        )

    folder = cache_folder() / "pairs" / _key(teacher, required, device)
    shape = required.count, *teacher.image_spec.shape
    home = device if 8 * math.prod(shape) <= RESIDENT_BYTES else torch.device("cpu")
    whole = {"z": torch.empty(shape, device=home), "images": torch.empty(shape, device=home)}
    if teacher.image_spec.label_dim:
        whole["labels"] = torch.empty(required.count, teacher.image_spec.label_dim, device=home)
    flops, seconds = 0, 0.0
    for first in range(0, required.count, PART):
        file, last = folder / f"{first:09d}.safetensors", min(first + PART, required.count)
        tensors, meta = _cached(file) or _make_once(
            file, teacher, range(first, last), required.steps, device, tell
        )
        for name, tensor in whole.items():
            tensor[first:last] = tensors[name].to(home)
        flops += meta["flops"]
        seconds += meta["seconds"]
    return PairStream(whole["z"], whole["images"], whole.get("labels"), flops, seconds, device)


def _key(teacher: Teacher, required: TeacherPairs, device: torch.device) -> str:
    """A name that differs wherever the images, or the time they take, may differ."""
    arithmetic = (
        device_name(device),
        torch.backends.cuda.matmul.allow_tf32,
        getattr(teacher.denoiser, "half_type", None),
    )
    identity = repr((teacher.digest(), teacher_code(teacher), required, FIRST_SEED, arithmetic))
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _cached(file: Path) -> Part | None:
    """A part that was made before; None for one that is not there or is damaged, which is made again."""
    with suppress(UsageError):
        return load_sealed(file)
    return None


def _make_once(
    file: Path,
    teacher: Teacher,
    numbers: range,
    steps: int,
    device: torch.device,
    tell: Callable[[int], None],
) -> Part:
    """Make a part and keep it, unless another process has made it while this one waited."""
    with locked(file.with_suffix(".lock")):
        if (part := _cached(file)) is None:
            part = _make(teacher, numbers, steps, device, tell)
            save_sealed(file, *part)
        return part


def _make(
    teacher: Teacher, numbers: range, steps: int, device: torch.device, tell: Callable[[int], None]
) -> Part:
    """Make the pairs of these numbers; ``tell`` is given how many there are then."""
    batches, flops = [], 0
    started = time.perf_counter()
    size = batch_size(teacher.image_spec, device)
    for first in range(numbers.start, numbers.stop, size):
        last = min(first + size, numbers.stop)
        seeds = range(FIRST_SEED + first, FIRST_SEED + last)
        z, labels = seeded_noise(seeds, teacher.image_spec, device)
        images, cost = sample_measured(teacher, z, labels, steps)
        flops += cost
        batch = {"z": z, "images": images} | ({} if labels is None else {"labels": labels})
        batches.append({name: tensor.cpu() for name, tensor in batch.items()})
        tell(last)
    tensors = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    seconds = time.perf_counter() - started
    return tensors, {"flops": flops, "seconds": seconds}


@torch.no_grad()
def sample_measured(
    teacher: Teacher, z: Tensor, labels: Tensor | None, steps: int
) -> tuple[Tensor, int]:
    """Return the teacher's images of ``z``, and the operations that they cost."""
    images: list[Tensor] = []
    cost = measure(lambda: images.append(teacher.sample(z, labels, Sampler(steps))), {})
    return images[0], cost.flops
