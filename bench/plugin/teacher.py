"""What a teacher is: a frozen denoiser, and the facts about it that methods and evaluations need."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.files.assets import Asset
from bench.files.tensors import tensors_digest
from bench.plugin.diffusion import EDMPrecond, NoiseLevels
from bench.plugin.images import ImageSpec
from bench.plugin.sampler import Draw, Sampler


@dataclass(frozen=True)
class ReportedFID:
    """What the authors of a model report of it."""

    fid: float
    nfe: int
    source: str
    """Where the number stands, and under which conditions."""
    protocol: str = "edm-50k"


Augment = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (N, C, H, W) to augmented images and the labels that say what was done to them, (N, augment_dim)."""


class Teacher(ABC):
    """A pretrained diffusion model as an EDM denoiser: ``D(x, sigma, labels=None, augment_labels=None) -> x0``.

    ``denoiser`` is frozen and in evaluation mode. ``path`` is a file of weights to read in place of the usual ones. A teacher
    that stands for many models is named ``NAME:SOURCE`` and is given the source. The facts are class attributes, or properties
    where they are known only once it is loaded.
    """

    name: str = ""
    """Under which it is registered, set by the registry; of a loaded one with its source, ``NAME:SOURCE``."""
    REQUIRED: ClassVar[tuple[str, ...]] = ("image_spec", "noise", "sampler", "dataset", "protocol")

    image_spec: ImageSpec
    """Size of its images, and its number of classes."""
    noise: NoiseLevels
    """Its noise levels: range, Karras grid, and the law it was trained under."""
    sampler: Sampler
    """How it makes images by itself."""
    dataset: str | None
    """Name of the data set it was trained on, or None if that is not known."""
    protocol: str | None
    """Id of the protocol its students are measured by unless another is asked for; None asks for one."""

    assets: ClassVar[tuple[Asset, ...]] = ()
    """The files that it needs and that have to be fetched, its weights first."""
    published: ClassVar[ReportedFID | None] = None
    """What its authors measured."""
    takes_source: ClassVar[bool] = False
    """Whether its name goes on after a colon."""
    known_before_loading: ClassVar[bool] = True
    """Whether the facts above are class attributes, so that what does not suit them is refused before anything is fetched."""
    augment: Augment | None = None
    """What was done to its training images, and what it was told of that; None if nothing was."""
    files: Sequence[Path] = ()
    """The files that were read, apart from a ``path`` given and from what this project ships."""
    note: str = ""
    """What a person should know about the weights that were read."""

    def __init__(self, path: Path | None = None, source: str = "") -> None:
        self.source = source
        self.name = f"{type(self).name}:{source}" if source else type(self).name or type(self).__name__
        self.denoiser = self.load(path).eval().requires_grad_(False)

    @abstractmethod
    def load(self, path: Path | None) -> nn.Module:
        """The denoiser, from ``path`` or from where this teacher usually lies. Raises UsageError for a file that does not fit."""

    def trainable_copy(self, dropout: float = 0.0) -> nn.Module:
        """A network of its own that starts as the denoiser and can be trained, with this dropout probability."""
        network = copy.deepcopy(self.denoiser).requires_grad_(True)
        set_dropout(network, dropout)
        return network

    def sample(self, z: Tensor, labels: Tensor | None = None, sampler: Sampler | None = None, draw: Draw | None = None) -> Tensor:
        """Images from unit Gaussian noise (N, C, H, W), by the teacher's own sampler unless another is given."""
        return (sampler or self.sampler)(self.denoiser, z, self.noise, labels, draw)

    def use_half(self, half_type: torch.dtype) -> None:
        """Compute the network in this type, with weights and everything outside of it in float32. Trainable copies follow.

        Raises UsageError for a denoiser that is not an EDMPrecond, whose network may not know how.
        """
        if not isinstance(self.denoiser, EDMPrecond):
            raise UsageError("this teacher's network does not compute in 16 bits; use --precision auto.")
        self.denoiser.half_type = half_type
        self.denoiser.to(memory_format=torch.channels_last)  # what tensor cores read without a transposition

    def to(self, device: torch.device) -> Self:
        """Move the denoiser to ``device``."""
        self.denoiser.to(device)
        return self

    def digest(self) -> str:
        """SHA-256 of the denoiser: of the names, shapes and bytes of all its tensors."""
        return tensors_digest(self.denoiser.state_dict())


def set_dropout(network: nn.Module, probability: float) -> None:
    """Let the layers called ``dropout`` drop with this probability in training mode.

    They are those of residual blocks; attention's have other names and stay as they are.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout) and name.endswith("dropout"):
            module.p = probability


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
