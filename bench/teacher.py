"""What a teacher is: a frozen denoiser, and the facts about it that methods and evaluations need."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bench.diffusion import NoiseLevels, heun


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


class Teacher(ABC):
    """A pretrained diffusion model as an EDM denoiser: ``D(x, sigma, labels=None, augment_labels=None) -> x0``.

    ``denoiser`` is frozen and in evaluation mode. ``path`` is a file of weights to read in place of the usual ones.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ("images", "noise", "steps", "dataset", "protocol")

    images: ClassVar[ImageSpec]
    """Size of its images, and its number of classes."""
    noise: ClassVar[NoiseLevels]
    """Its noise levels: range, Karras grid, and the law it was trained under."""
    steps: ClassVar[int]
    """Heun steps of its own sampler by default; NFE is ``2 * steps - 1``."""
    dataset: ClassVar[str]
    """Name of the data set it was trained on."""
    protocol: ClassVar[str]
    """Id of the protocol its students are measured by unless another is asked for."""

    def __init__(self, path: Path | None = None) -> None:
        self.denoiser = self.load(path).eval().requires_grad_(False)

    @abstractmethod
    def load(self, path: Path | None) -> nn.Module:
        """The denoiser, from ``path`` or from where this teacher usually lies. Raises UsageError for a file that does not fit."""

    def trainable_copy(self, dropout: float = 0.0) -> nn.Module:
        """A network of its own that starts as the denoiser and can be trained, with this dropout probability."""
        network = copy.deepcopy(self.denoiser).requires_grad_(True)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        return network

    def sample(self, z: Tensor, labels: Tensor | None = None, steps: int | None = None) -> Tensor:
        """Images from unit Gaussian noise (N, C, H, W) by the teacher's own deterministic sampler."""
        return heun(self.denoiser, z, steps or self.steps, self.noise, labels)

    def to(self, device: torch.device) -> Self:
        """Move the denoiser to ``device``."""
        self.denoiser.to(device)
        return self

    def digest(self) -> str:
        """SHA-256 of the denoiser: of the names, shapes and bytes of all its tensors."""
        return tensors_digest(self.denoiser.state_dict())


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of named tensors, whatever their order."""
    h = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        h.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        h.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


class Dataset(ABC):
    """Real images in a fixed order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All images in order: uint8 (N, C, H, W), and their class indices (N,) or None."""


class Trainable(ABC):
    """What ``bench train`` can make again: a network whose weights this project ships."""

    training_images: ClassVar[int]
    """Images of the full training, the one behind the shipped weights."""
    shipped: ClassVar[Path]
    """Where the shipped weights lie."""

    @classmethod
    @abstractmethod
    def train(cls, images: int, seed: int, report: Callable[[int, float], None]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Train from nothing on ``images`` images; return the weights by name, and what was measured of them.

        ``report(images_seen, loss)`` is called now and then. Same arguments, same machine: same weights, to the bit.
        """
