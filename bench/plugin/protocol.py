"""What a measured number means: the protocol.

A number without its protocol is never shown, and numbers of different protocols never share a column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from bench.errors import UsageError
from bench.files.assets import Asset
from bench.units import compact


@dataclass(frozen=True)
class PublishedStatistics:
    """Statistics of real images that others made: a file that does not say by itself what it is."""

    asset: Asset
    dataset: str
    split: str
    images: int
    builder: str
    """Whose program made them."""
    extractor: str
    """The extractor whose features they are of, and its published weights."""
    kind: str = "moments"
    """Which accumulator's statistics they are."""

    @property
    def key(self) -> str:
        """Under which a file of this suite has such statistics."""
        return f"{self.kind}.{self.extractor}.pool"


@dataclass(frozen=True)
class Protocol:
    """How generated images are measured. Two numbers compare only if their protocols are equal."""

    family: str
    samples: int
    """Generated images per replicate."""
    extractors: tuple[str, ...]
    """Feature extractors; those are used whose features a metric asks for, the first that has it."""
    metrics: tuple[str, ...]
    """Metrics measured unless others are asked for, the first being the one that selects and ranks."""
    repeats: int = 1
    """Replicates, on disjoint seeds, behind a final number; their standard deviation is the number's ``std``."""
    selection: Literal["mean", "min"] = "mean"
    """Which number of the replicates the papers of this protocol quote: EDM's tables have the smallest of three."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By metric, parameters that are not the metric's own."""
    references: Mapping[str, tuple[Path | PublishedStatistics, ...]] = field(default_factory=dict)
    """Statistics of real images by data set. What no file has is measured from the data set when it is needed."""
    fast: bool = False
    """Features in 16 bits and compiled; near the exact numbers and not to be compared with them."""

    labels = "uniform, from the seed of the image"
    """How classes are chosen."""
    noise = "from the seed of the image; replicate r has seeds r N to (r + 1) N - 1"
    quantisation = "floor(127.5 x + 128) clipped to 0..255"

    def __post_init__(self) -> None:
        if isinstance(self.extractors, str) or isinstance(self.metrics, str):
            raise UsageError(f"the protocol {self.family!r} has a text for its extractors or metrics, expected a tuple.")

    @property
    def id(self) -> str:
        """The family and the number of samples, ``digits-5k``."""
        return f"{self.family}{'-fast' if self.fast else ''}-{compact(self.samples)}"

    def with_samples(self, samples: int) -> Self:
        """The same protocol on another number of images; another id, since FID falls with the number."""
        return dataclasses.replace(self, samples=samples)
