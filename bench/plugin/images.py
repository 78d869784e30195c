"""The size of images and their classes, and their 256 levels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import UsageError


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

    @property
    def classes(self) -> int:
        """Number of classes that are drawn: all of them."""
        return self.label_dim

    def of_classes(self, count: int, teacher: str) -> "ImageSpec":
        """Return the same images of the first ``count`` classes alone. Raises UsageError for a number
        that the network of ``teacher`` does not have.
        """
        if not self.label_dim:
            raise UsageError(
                f"{teacher!r} is not conditioned on classes, given --classes {count}; leave it out."
            )
        if not 1 <= count <= self.label_dim:
            raise UsageError(
                f"{teacher!r} knows {self.label_dim} classes, given --classes {count}; give a number "
                f"from 1 to {self.label_dim}, or leave it out to draw them all."
            )
        if count == self.label_dim:
            return ImageSpec(self.channels, self.resolution, self.label_dim)
        return FirstClasses(self.channels, self.resolution, self.label_dim, count)

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))


@dataclass(frozen=True)
class FirstClasses(ImageSpec):
    """Images of a network that knows more classes than are drawn, such as a null class for guidance.

    Labels keep the length that the network takes, ``label_dim``.
    """

    drawn: int = 0
    """Number of classes that are drawn, the first ones."""

    @property
    def classes(self) -> int:
        """Number of classes that are drawn."""
        return self.drawn


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to uint8 as EDM does: ``(127.5 x + 128)``, clipped and rounded down.

    Each of the 256 levels of ``from_uint8`` comes back as itself.
    """
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Map uint8 images to float32 in [-1, 1]: ``u / 127.5 - 1``."""
    return images.float() / 127.5 - 1
