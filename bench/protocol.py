"""What a measured number means: the protocol, the features it is computed from, and the metric.

A number without its protocol is never shown, and numbers of different protocols never share a column.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from bench.errors import UsageError
from bench.sampler import Draw
from bench.teacher import ImageSpec

Features = Mapping[str, Tensor]
"""Named features of a batch of images, each (N, d): ``pool`` for distances, ``logits`` for class probabilities."""


@dataclass(frozen=True)
class Protocol:
    """How generated images are measured. Two numbers compare only if their protocols are equal."""

    family: str
    samples: int
    """Generated images per replicate."""
    extractor: str
    metrics: tuple[str, ...]
    """Metrics measured unless others are asked for, the first being the one that selects and ranks."""
    repeats: int = 1
    """Replicates, on disjoint seeds, behind a final number; their standard deviation is the number's ``std``."""
    reference: Path | None = None
    """File of reference statistics; None measures the teacher's data set when it is needed."""

    @property
    def id(self) -> str:
        """The family and the number of samples, ``digits-5k``."""
        return f"{self.family}-{compact(self.samples)}"

    def with_samples(self, samples: int) -> Self:
        """The same protocol on another number of images; another id, since FID falls with the number."""
        return dataclasses.replace(self, samples=samples)


def compact(count: int) -> str:
    """A count in the shortest exact form: 5000 is ``5k``, 1797 stays ``1797``."""
    for size, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)


class FeatureExtractor(ABC):
    """Turns uint8 images (N, C, H, W) into named features (N, d). In evaluation mode, frozen, in float32."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("images", "features")

    images: ClassVar[ImageSpec | None]
    """The only size of image it takes, or None for any."""
    features: ClassVar[tuple[str, ...]]
    """Names of the features it gives."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Features:
        """Features of a batch of images."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of its weights."""

    def to(self, device: torch.device) -> Self:
        """Move it to ``device``."""
        return self

    @classmethod
    def require(cls, given: ImageSpec, whose: str, protocol: str) -> None:
        """Raise UsageError if it does not take images of this size."""
        if cls.images and cls.images.shape != given.shape:
            takes, gives = ("x".join(map(str, spec.shape)) for spec in (cls.images, given))
            raise UsageError(
                f"the protocol {protocol} takes {takes} images, those of {whose!r} are {gives}; choose another --protocol."
            )


class Metric(ABC):
    """Accumulates statistics of features, then compares them with the same statistics of real images, or with none.

    The reference is made by the same code: a metric that has seen the real images hands out their ``statistics``.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ("direction", "feature", "needs_reference")

    direction: ClassVar[Literal["lower", "higher"]]
    """Which way is better."""
    feature: ClassVar[str]
    """The feature it is computed from."""
    needs_reference: ClassVar[bool]
    fewest: ClassVar[int] = 2
    """Fewest images that it can be computed from."""

    @abstractmethod
    def __init__(self, samples: int) -> None:
        """Begin; ``samples`` images will be seen."""

    @abstractmethod
    def update(self, features: Tensor) -> None:
        """Take in one batch of the feature it asked for, (N, d)."""

    @abstractmethod
    def statistics(self) -> dict[str, Tensor]:
        """Everything that ``value`` needs of the images seen so far."""

    @abstractmethod
    def value(self, reference: Mapping[str, Tensor] | None) -> float:
        """The metric of the images seen so far, against a reference's ``statistics`` where it needs one."""


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to 256 levels as EDM does: ``(127.5 x + 128)`` clipped and rounded down.

    Every one of the 256 levels of ``u / 127.5 - 1`` comes back as itself.
    """
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Images of 256 levels as float32 in [-1, 1]: ``u / 127.5 - 1``."""
    return images.float() / 127.5 - 1


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
