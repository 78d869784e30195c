"""Distances between the features of many images, and the common base of the metrics that use them."""

import itertools
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.plugin import Accumulator, BenchError, FeatureBank, FeatureMetric, Statistics, UsageError

BLOCK = 2048
"""Number of images on a side of a block of the table of distances, which takes 32 MB."""
EQUAL = 1e-12
"""Largest squared distance of equal features, as a share of their squared length.

Such features are within 1e-6 of each other, near the last bits of their float32. The share is well
above the rounding of float64 in ``|x|^2 + |y|^2 - 2 x.y``, so that copies have a distance of
exactly 0.
"""
TIE = 1e-9
"""Largest relative difference of distances that are equal but for rounding."""


@dataclass(frozen=True)
class SetMetric(FeatureMetric):
    """Base of the metrics that compare the features of single generated and real images."""

    feature = "pool"
    statistics: ClassVar[type[Accumulator]] = FeatureBank
    reference_statistics = FeatureBank

    def prepare(self, reference: Statistics) -> Statistics:
        """Check the real images; a metric adds what it computes of them."""
        self._require_enough(len(reference["features"]), "real", "give a reference of more")
        if not reference["features"].isfinite().all():
            raise BenchError(
                "the features of the reference are not finite; its file may be damaged, so make it again."
            )
        return reference

    def value(self, generated: Statistics, reference: Statistics) -> float:
        """Compute the metric from ``features`` (N, d) of both, on the device of the generated ones."""
        x, real = generated["features"], reference["features"]
        if x.shape[1] != real.shape[1]:
            raise BenchError(
                f"the generated images have features of {x.shape[1]} dimensions, those of the "
                f"reference {real.shape[1]}; give a reference made with the same extractor."
            )
        self._require_enough(len(x), "generated", "ask for more samples")
        return self.compare(x, {name: t.to(x.device) for name, t in reference.items()})

    @abstractmethod
    def compare(self, x: Tensor, reference: Statistics) -> float:
        """Compute the metric from generated features (N, d) and prepared statistics of the real ones."""

    def _require_enough(self, images: int, kind: str, advice: str) -> None:
        if images < self.fewest:
            raise BenchError(
                f"{type(self).__name__} needs at least {self.fewest:,} {kind} images, given "
                f"{images:,}; {advice}."
            )


@dataclass(frozen=True)
class BallMetric(SetMetric):
    """Base of the metrics with a ball around each image, up to its k-th nearest in the same set."""

    k: int = 1

    direction = "higher"
    reach: ClassVar[float] = 1 + TIE
    """Radius as a share of that distance: ``1 + TIE`` for a ball with its edge, ``1 - TIE`` without."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(
                f"{type(self).__name__} looks at the k-th nearest image, given k = {self.k}; take 1 or more."
            )

    @property
    def fewest(self) -> int:  # type: ignore[override]
        return self.k + 1

    def radii(self, x: Tensor) -> Tensor:
        """Return the radii (N,) in float64 of the balls around points (N, d)."""
        return self.reach * kth_distance(x, self.k)


@dataclass(frozen=True)
class RealBallMetric(BallMetric):
    """Base of the metrics with balls around real images."""

    def prepare(self, reference: Statistics) -> Statistics:
        """Add the ``radii`` (M,) of the balls around real images."""
        return dict(super().prepare(reference)) | {"radii": self.radii(reference["features"])}


def kth_distance(x: Tensor, k: int) -> Tensor:
    """Return the distances (N,) of points (N, d) to their k-th nearest other points; k < N.

    In float64. A copy of a point is another point.
    """
    nearest = torch.full((len(x), k), torch.inf, dtype=torch.float64, device=x.device)
    # Each pair of blocks once, as the table is symmetric.
    for rows, columns in itertools.combinations_with_replacement(_blocks(len(x)), 2):
        distance = _distances(x[rows], x[columns])
        if columns == rows:
            distance.fill_diagonal_(torch.inf)
        else:
            nearest[columns] = _smallest(nearest[columns], distance.T)
        nearest[rows] = _smallest(nearest[rows], distance)
    return nearest[:, -1]


def nearest_distance(x: Tensor, to: Tensor) -> Tensor:
    """Return the distances (N,) of points x (N, d) to the nearest of the points ``to`` (M, d)."""
    nearest = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    for rows, columns in itertools.product(_blocks(len(x)), _blocks(len(to))):
        nearest[rows] = nearest[rows].minimum(_distances(x[rows], to[columns]).amin(1))
    return nearest


def balls_around(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Count for each point of x (N, d) the balls that hold it, (N,) int64.

    The balls have centres (M, d) and radii (M,). A point at the distance of the radius is inside.
    """
    count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows, columns in itertools.product(_blocks(len(x)), _blocks(len(centres))):
        count[rows] += (_distances(x[rows], centres[columns]) <= radii[columns]).sum(1)
    return count


def _blocks(n: int) -> list[slice]:
    return [slice(first, first + BLOCK) for first in range(0, n, BLOCK)]


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the distances (N, M) of points x (N, d) to points y (M, d), exactly 0 for equal ones.

    In float64, from one matrix product, whose rounding would hide small distances in float32, and
    large ones in TF32.
    """
    x, y = x.double(), y.double()
    xx, yy = x.square().sum(1), y.square().sum(1)
    squared = torch.addmm(xx[:, None] + yy, x, y.T, alpha=-2)
    return squared.masked_fill_(squared <= EQUAL * xx[:, None], 0).sqrt_()


def _smallest(known: Tensor, more: Tensor) -> Tensor:
    """Return the k smallest values of each row of ``known`` (N, k) and ``more``, ascending."""
    return torch.cat((known, more), 1).topk(known.shape[1], largest=False).values
