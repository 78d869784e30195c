"""Distances between the features of many images, block by block, and what the metrics that compare them have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.plugin import Accumulator, BenchError, FeatureBank, FeatureMetric, Statistics, UsageError

BLOCK = 2048
"""Images on a side of the table of distances that is held at once: 32 MB."""
EQUAL = 1e-12
"""Features whose squared distance is at most this share of their squared length are equal.

They are then within 1e-6 of each other, near the last bits of the float32 that they are kept in; and it is well above the
rounding of float64 in ``|x|^2 + |y|^2 - 2 x.y``, so that copies are at a distance of exactly 0.
"""
TIE = 1e-9
"""Distances that differ by at most this share are the same but for rounding."""


@dataclass(frozen=True)
class SetMetric(FeatureMetric):
    """Parent of the metrics that compare the features of generated images with those of real ones, image by image."""

    feature = "pool"
    statistics: ClassVar[type[Accumulator]] = FeatureBank
    reference_statistics = FeatureBank

    def prepare(self, reference: Statistics) -> Statistics:
        """Checks the real images; metrics add what they compute of them once."""
        self._require_enough(len(reference["features"]), "real", "give a reference of more")
        if not reference["features"].isfinite().all():
            raise BenchError("the features of the reference are not finite; its file may be damaged, so make it again.")
        return reference

    def value(self, generated: Statistics, reference: Statistics | None) -> float:
        """Of ``features`` (N, d) on both sides; computed on the device of the generated images'."""
        assert reference is not None
        x, real = generated["features"], reference["features"]
        if x.shape[1] != real.shape[1]:
            raise BenchError(
                f"the generated images have features of {x.shape[1]} dimensions, those of the reference {real.shape[1]}; "
                "give a reference made with the same extractor."
            )
        self._require_enough(len(x), "generated", "ask for more samples")
        return self.compare(x, self.prepare({name: t.to(x.device) for name, t in reference.items()}))

    @abstractmethod
    def compare(self, x: Tensor, reference: Statistics) -> float:
        """The metric of the generated images' features (N, d), from prepared statistics."""

    def _require_enough(self, images: int, kind: str, advice: str) -> None:
        if images < self.fewest:
            name = type(self).__name__
            raise BenchError(f"{name} needs at least {self.fewest:,} {kind} images, given {images:,}; {advice}.")


@dataclass(frozen=True)
class BallMetric(SetMetric):
    """Parent of the metrics that put a ball around each image of a set, as far as the k-th nearest other image of that set."""

    k: int = 1

    direction = "higher"
    reach: ClassVar[float] = 1 + TIE
    """Radius as a share of that distance: a ball with its edge, or with ``1 - TIE`` without."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"{type(self).__name__} looks at the k-th nearest image, given k = {self.k}; take 1 or more.")

    @property
    def fewest(self) -> int:  # type: ignore[override]
        return self.k + 1

    def radii(self, x: Tensor) -> Tensor:
        """Of the balls around points (N, d), (N,) in float64."""
        return self.reach * kth_distance(x, self.k)


@dataclass(frozen=True)
class RealBallMetric(BallMetric):
    """Parent of those whose balls are around real images."""

    def prepare(self, reference: Statistics) -> Statistics:
        """Adds the ``radii`` (M,) of the balls around real images."""
        if "radii" in reference:
            return reference
        return dict(super().prepare(reference)) | {"radii": self.radii(reference["features"])}


def kth_distance(x: Tensor, k: int) -> Tensor:
    """Distance of each of N points (N, d) to its k-th nearest other point, (N,) in float64. A copy is another point.

    Needs ``N > k``.
    """
    nearest = torch.full((len(x), k), torch.inf, dtype=torch.float64, device=x.device)
    blocks = _blocks(len(x))
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:  # the rest of the table is the same again
            distance = _distances(x[rows], x[columns])
            if columns == rows:
                distance.fill_diagonal_(torch.inf)
            else:
                nearest[columns] = _smallest(nearest[columns], distance.T)
            nearest[rows] = _smallest(nearest[rows], distance)
    return nearest[:, -1]


def nearest_distance(x: Tensor, to: Tensor) -> Tensor:
    """Distance of each point of x (N, d) to the nearest of the points ``to`` (M, d), (N,) in float64."""
    nearest = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    for rows in _blocks(len(x)):
        for columns in _blocks(len(to)):
            nearest[rows] = nearest[rows].minimum(_distances(x[rows], to[columns]).amin(1))
    return nearest


def balls_around(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """How many of the balls with these centres (M, d) and radii (M,) hold each point of x (N, d), as integers (N,).

    A point at the distance of the radius is inside.
    """
    count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows in _blocks(len(x)):
        for columns in _blocks(len(centres)):
            count[rows] += (_distances(x[rows], centres[columns]) <= radii[columns]).sum(1)
    return count


def _blocks(n: int) -> list[slice]:
    return [slice(first, first + BLOCK) for first in range(0, n, BLOCK)]


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Of every point of x (N, d) to every point of y (M, d), (N, M) in float64; exactly 0 between equal points.

    One matrix product, whose rounding would hide small distances in float32, and in TF32 large ones too.
    """
    x, y = x.double(), y.double()
    xx, yy = x.square().sum(1), y.square().sum(1)
    squared = torch.addmm(xx[:, None] + yy, x, y.T, alpha=-2)
    return squared.masked_fill_(squared <= EQUAL * xx[:, None], 0).sqrt_()


def _smallest(known: Tensor, more: Tensor) -> Tensor:
    """The k smallest of each row of both, ascending, where (N, k) are known."""
    return torch.cat((known, more), 1).topk(known.shape[1], largest=False).values
