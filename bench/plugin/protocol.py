"""The protocol of an evaluation, which says what a number means.

A number is never shown without its protocol, and numbers of different protocols never share a
column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from bench.errors import UsageError
from bench.files.assets import Asset
from bench.units import compact


@dataclass(frozen=True)
class PublishedStatistics:
    """A published file of statistics of real images, with the facts that it does not state itself."""

    asset: Asset
    dataset: str
    split: str
    images: int
    builder: str
    """The program that made them."""
    extractor: str
    """The extractor of the features, with its published weights."""
    kind: str = "moments"
    """Name of the accumulator whose statistics they are."""

    @property
    def key(self) -> str:
        """The key of such statistics in a reference file of this suite."""
        return f"{self.kind}.{self.extractor}.pool"


@dataclass(frozen=True)
class Protocol:
    """How generated images are measured.

    Two numbers are comparable only if their protocols are equal.
    """

    family: str
    samples: int
    """Number of generated images in each replicate."""
    extractors: tuple[str, ...]
    """Feature extractors; for each metric the first one with its feature is used."""
    metrics: tuple[str, ...]
    """Metrics measured by default. The first one selects checkpoints and ranks methods."""
    repeats: int = 1
    """Number of replicates, on disjoint seeds, behind a final number and its standard deviation."""
    selection: Literal["mean", "min"] = "mean"
    """The number of the replicates that papers quote: EDM's tables have the smallest of three."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Parameters by metric, in place of the metric's defaults."""
    references: Mapping[str, tuple[Path | PublishedStatistics, ...]] = field(default_factory=dict)
    """Files of statistics by data set. Statistics that no file has are measured from the real images."""
    fast: bool = False
    """Whether features are computed in 16 bits: near the exact numbers, and not comparable with them."""
    variant: str = ""
    """The parameters of metrics that an evaluation asks for in place of the protocol's, in a word."""

    labels = "uniform, from the seed of the image"
    """The choice of classes."""
    noise = "from the seed of the image; replicate r has seeds r N to (r + 1) N - 1"
    quantisation = "floor(127.5 x + 128) clipped to 0..255"

    def __post_init__(self) -> None:
        if isinstance(self.extractors, str) or isinstance(self.metrics, str):
            raise UsageError(
                f"the protocol {self.family!r} has a text for its extractors or metrics, expected a tuple."
            )

    @property
    def id(self) -> str:
        """The family and the number of samples, such as ``digits-5k``."""
        marks = filter(None, ("fast" if self.fast else "", self.variant))
        return "-".join((self.family, *marks, compact(self.samples)))

    def with_samples(self, samples: int) -> Self:
        """Return the protocol with another number of images; FID depends on the number."""
        return replace(self, samples=samples)
