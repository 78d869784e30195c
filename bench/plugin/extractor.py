"""The contract of a feature extractor, which turns images into features."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.files.assets import Asset
from bench.plugin.images import ImageSpec

Features = Mapping[str, Tensor]
"""Features of a batch of images by name, each (N, d): ``pool`` for distances, ``logits`` for classes."""


NO_WEIGHTS = "none"
"""The digest of an extractor without weights."""


class FeatureExtractor(ABC):
    """Turns uint8 images (N, C, H, W) into named features (N, d) in float32.

    Its network is frozen, in evaluation mode, and computes in full float32. ``path`` is a file of
    weights to read in place of the usual ones.
    """

    name: ClassVar[str] = ""
    """The name under which it is registered, set by the registry."""
    REQUIRED: ClassVar[tuple[str, ...]] = ("image_spec", "features")

    image_spec: ClassVar[ImageSpec | None]
    """The only size of image that it takes, or None for any."""
    channels: ClassVar[tuple[int, ...]] = ()
    """Numbers of channels that it takes, if it takes images of any size; empty for any number."""
    features: ClassVar[tuple[str, ...]]
    """Names of the features that it computes."""
    large: ClassVar[bool] = False
    """Whether its network is large enough to use all threads of a CPU."""
    assets: ClassVar[tuple[Asset, ...]] = ()
    """The files to fetch before it can be made."""

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            raise UsageError(
                f"this feature extractor reads no file of weights, given {str(path)!r}; leave the path out."
            )

    @abstractmethod
    def __call__(self, images: Tensor) -> Features:
        """Return the features of a batch of images on its device."""

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 of its weights; ``none`` for one without any."""

    def to(self, device: torch.device) -> Self:
        """Move its networks and tensors to ``device``."""
        for name, value in vars(self).items():
            if isinstance(value, nn.Module | Tensor):
                setattr(self, name, value.to(device))
        return self

    def use_fast(self) -> None:
        """Compute nearly the same features faster from now on: in 16 bits, compiled.

        Raises UsageError for an extractor that cannot.
        """
        raise UsageError("this protocol's feature extractor has no fast mode; leave --fast out.")

    def by_others(self) -> Mapping[str, Callable[[Tensor], Features]]:
        """Return functions that compute the same features, by name of the library, for a cross-check."""
        return {}

    @classmethod
    def require(cls, image_spec: ImageSpec, whose: str, protocol: str) -> None:
        """Raise UsageError if it does not take images of this size, which are those of ``whose``."""
        if cls.image_spec and cls.image_spec.shape != image_spec.shape:
            accepted = f"{cls.image_spec} images"
        elif cls.channels and image_spec.channels not in cls.channels:
            accepted = f"images of {' or '.join(map(str, cls.channels))} channels"
        else:
            return
        raise UsageError(
            f"the protocol {protocol} takes {accepted}, those of {whose!r} are {image_spec}; "
            "choose another --protocol."
        )
