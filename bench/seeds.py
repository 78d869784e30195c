"""Noise and labels of images from their seeds alone."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.images import ImageSpec
from bench.sampler import Draw


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
