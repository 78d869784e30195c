"""Noise and labels of images from their seeds alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.evaluation.extraction import FEWEST
from bench.plugin.images import ImageSpec, to_uint8
from bench.plugin.method import Generate
from bench.plugin.sampler import Draw


def seeded_noise(seeds: range, images: ImageSpec) -> tuple[Tensor, Tensor | None]:
    """Noise (N, C, H, W) and one-hot labels (N, label_dim) or None, each image's drawn from its own seed alone, on the CPU.

    As in EDM's ``generate.py``: one generator per seed draws the noise and then a uniform class. The images therefore do
    not depend on the batch size, the number of devices or the order.
    """
    z = torch.empty(len(seeds), *images.shape)
    classes = torch.empty(len(seeds), dtype=torch.int64)
    generator = torch.Generator()
    for i, seed in enumerate(seeds):
        generator.manual_seed(seed)
        torch.randn(images.shape, generator=generator, out=z[i])
        if images.label_dim:
            torch.randint(images.label_dim, (1,), generator=generator, out=classes[i : i + 1])
    return z, torch.nn.functional.one_hot(classes, images.label_dim).float() if images.label_dim else None


def seeded_draw(seeds: range, images: ImageSpec, device: torch.device) -> Draw:
    """Further noise of the same images: every call gives (N, C, H, W) in float64, each image's from its own seed.

    The streams go on where ``seeded_noise`` left them, as those of EDM's stochastic sampler do.
    """
    generators: list[torch.Generator] = []

    def draw() -> Tensor:
        for seed in seeds if not generators else ():
            generators.append(torch.Generator().manual_seed(seed))
            torch.randn(images.shape, generator=generators[-1])
            if images.label_dim:
                torch.randint(images.label_dim, (1,), generator=generators[-1])
        noise = [torch.randn(images.shape, dtype=torch.float64, generator=g) for g in generators]
        return torch.stack(noise).to(device)

    return draw


if TYPE_CHECKING:
    from bench.factory import ImageGenerator

Images = Callable[[range], Tensor]
"""Uint8 images (N, C, H, W) of these seeds, or of these places in a data set."""


def batch_size(images: ImageSpec, device: torch.device) -> int:
    """Images made at once: many on a GPU, and on a CPU as many as its caches and a large network's activations allow."""
    return 250 if device.type == "cuda" else max(FEWEST, min(250, 2**14 // images.resolution**2))


def generate_images(generate: Generate, seeds: range, images: ImageSpec, device: torch.device) -> Tensor:
    """Images in [-1, 1] of these seeds, without touching the random state. Raises BenchError for images that are not finite."""
    z, labels = seeded_noise(seeds, images)
    more = {"draw": seeded_draw(seeds, images, device)} if _takes_draws(generate) else {}
    with _own_random_state(device), torch.no_grad():
        torch.manual_seed(seeds.start)  # for a generator that draws noise of its own
        made = generate(z.to(device), None if labels is None else labels.to(device), **more)
    if made.shape != z.shape:
        raise BenchError(f"the generator returned images of shape {tuple(made.shape)}, expected {tuple(z.shape)}.")
    if not made.isfinite().all():
        raise BenchError("the generator returns NaN or infinite values: the run has diverged; lower the learning rates.")
    return made


def quantised(generate: Generate, images: ImageSpec, device: torch.device, seeds: range) -> Tensor:
    """Uint8 images of these seeds; a few are made among more."""
    enough = range(seeds.start, seeds.start + max(len(seeds), FEWEST))
    return to_uint8(generate_images(generate, enough, images, device))[: len(seeds)]


def at_once(generate: Generate, images: ImageSpec, device: torch.device) -> Callable[[int], Tensor]:
    """The generator as a function of the number of images, whose noise is already on the device."""

    def make(count: int) -> Tensor:
        generator = torch.Generator(device).manual_seed(0)
        z = torch.randn(count, *images.shape, device=device, generator=generator)
        labels = torch.eye(images.label_dim, device=device)[torch.arange(count) % images.label_dim] if images.label_dim else None
        draws = {"draw": lambda: torch.randn(z.shape, dtype=torch.float64, device=device, generator=generator)}
        with _own_random_state(device), torch.no_grad():
            return generate(z, labels, **(draws if _takes_draws(generate) else {}))

    return make


def _own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn in this context does not show outside of it."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _takes_draws(generate: Generate) -> bool:
    return "draw" in inspect.signature(generate).parameters


def sample_images(source: ImageGenerator, seeds: range, report: Callable[[float], None] = lambda fraction: None) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] of these seeds, on the CPU; ``report(fraction)`` follows the work."""
    images, at_once = source.teacher.image_spec, batch_size(source.teacher.image_spec, source.device)
    made = []
    for i in range(0, len(seeds), at_once):
        made.append(generate_images(source.generate, seeds[i : i + at_once], images, source.device).cpu())
        report((i + len(made[-1])) / len(seeds))
    return torch.cat(made)
