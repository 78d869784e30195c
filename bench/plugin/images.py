"""Images: their size, and their 256 levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSpec:
    """Size of a teacher's images, and how many classes it is conditioned on (0: unconditional)."""

    channels: int
    resolution: int
    label_dim: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.resolution, self.resolution


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to 256 levels as EDM does: ``(127.5 x + 128)`` clipped and rounded down.

    Every one of the 256 levels of ``u / 127.5 - 1`` comes back as itself.
    """
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Images of 256 levels as float32 in [-1, 1]: ``u / 127.5 - 1``."""
    return images.float() / 127.5 - 1
