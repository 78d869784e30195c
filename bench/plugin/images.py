"""The size of images, and their 256 levels."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSpec:
    """Size of square images, and the number of classes that a model is conditioned on (0: none)."""

    channels: int
    resolution: int
    label_dim: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.resolution, self.resolution

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to uint8 as EDM does: ``(127.5 x + 128)``, clipped and rounded down.

    Each of the 256 levels of ``from_uint8`` comes back as itself.
    """
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Map uint8 images to float32 in [-1, 1]: ``u / 127.5 - 1``."""
    return images.float() / 127.5 - 1
