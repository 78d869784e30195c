"""What turns images into features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from bench.errors import UsageError
from bench.files.assets import Asset
from bench.plugin.images import ImageSpec

Features = Mapping[str, Tensor]
"""Named features of a batch of images, each (N, d): ``pool`` for distances, ``logits`` for class probabilities."""


class FeatureExtractor(ABC):
    """Turns uint8 images (N, C, H, W) into named features (N, d), float32. In evaluation mode, frozen, in full float32.

    ``path`` is a file of weights to read in place of the usual ones.
    """

    name: ClassVar[str] = ""
    """Under which it is registered, set by the registry."""
    REQUIRED: ClassVar[tuple[str, ...]] = ("image_spec", "features")

    image_spec: ClassVar[ImageSpec | None]
    """The only size of image it takes, or None for any."""
    channels: ClassVar[tuple[int, ...]] = ()
    """Numbers of channels it takes, where it takes images of any size; empty for any."""
    features: ClassVar[tuple[str, ...]]
    """Names of the features it gives."""
    large: ClassVar[bool] = False
    """Whether its network is worth all threads of a CPU."""
    assets: ClassVar[tuple[Asset, ...]] = ()
    """The files that it needs and that have to be fetched."""

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            raise UsageError(f"this feature extractor reads no file of weights, given {str(path)!r}; leave the path out.")

    @abstractmethod
    def __call__(self, images: Tensor) -> Features:
        """Features of a batch of images on its device."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of its weights."""

    def to(self, device: torch.device) -> Self:
        """Move it to ``device``."""
        return self

    def use_fast(self) -> None:
        """Compute in 16 bits and compiled where that is faster; nearly the same features."""
        raise UsageError("this protocol's feature extractor has no fast mode; leave --fast out.")

    def by_others(self) -> Mapping[str, Callable[[Tensor], Features]]:
        """The same features by other libraries, by their names: functions like this one, for a cross-check."""
        return {}

    @classmethod
    def require(cls, given: ImageSpec, whose: str, protocol: str) -> None:
        """Raise UsageError if it does not take images of this size."""
        gives = "x".join(map(str, given.shape))
        if cls.image_spec and cls.image_spec.shape != given.shape:
            takes = f"{'x'.join(map(str, cls.image_spec.shape))} images"
        elif cls.channels and given.channels not in cls.channels:
            takes = f"images of {' or '.join(map(str, cls.channels))} channels"
        else:
            return
        raise UsageError(f"the protocol {protocol} takes {takes}, those of {whose!r} are {gives}; choose another --protocol.")
