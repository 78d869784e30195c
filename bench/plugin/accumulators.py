"""Accumulators of the features of many images: their moments, or the features themselves.

Everything that an accumulator holds is a sum. If several devices share the images of an evaluation,
each accumulates its own and the sums are added at the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.errors import BenchError

Statistics = Mapping[str, Tensor]
"""The statistics of a set of images, by name."""


class Accumulator(ABC):
    """Accumulates the features of ``samples`` images, batch by batch and in any order."""

    name: ClassVar[str]
    """The name of its statistics in a reference file."""
    held_out: ClassVar[bool] = False
    """Whether the real images that it sees are others than those of the data set, kept from training."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.sums: dict[str, Tensor] = {}
        """The sums by name, made by the first update."""

    @abstractmethod
    def update(self, features: Tensor, first: int) -> None:
        """Add the features (N, d) of the images ``first`` to ``first + N - 1``."""

    @abstractmethod
    def statistics(self) -> dict[str, Tensor]:
        """Return the statistics of all images. Raises BenchError if some are missing or not finite."""

    def complete(self) -> dict[str, Tensor]:
        """Return the sums over all images. Raises BenchError if some are missing or not finite."""
        seen = int(self.sums["count"]) if self.sums else 0
        if seen != self.samples:
            raise BenchError(f"{self.samples:,} images were to be measured, and {seen:,} have been.")
        if not all(sum_.isfinite().all() for sum_ in self.sums.values()):
            raise BenchError(
                "the features of these images are not finite; the extractor's weights may be damaged."
            )
        return self.sums


Gather = type[Accumulator] | partial[Any]
"""An accumulator's class, perhaps with settings; called with the number of images."""


class Moments(Accumulator):
    """Mean and covariance in float64, in memory that does not grow with the number of images.

    With no more images than dimensions, the features themselves are kept: they take less memory,
    and give a factor of their singular covariance.
    """

    name = "moments"

    def update(self, features: Tensor, first: int) -> None:
        x = features.double()
        if not self.sums:
            d = x.shape[1]
            shape = {"rows": (self.samples, d)} if self.samples <= d else {"sum": (d,), "outer": (d, d)}
            self.sums = {name: x.new_zeros(s) for name, s in shape.items()} | {
                "count": x.new_zeros((), dtype=torch.int64)
            }
        self.sums["count"] += len(x)
        if "rows" in self.sums:
            self.sums["rows"][first : first + len(x)] = x
        else:
            self.sums["sum"] += x.sum(0)
            self.sums["outer"].addmm_(x.T, x)

    def statistics(self) -> dict[str, Tensor]:
        """Return the mean ``mu`` (d,), the covariance ``sigma`` (d, d) with N - 1, and the ``count``.

        From no more images than dimensions also ``root`` (N, d), with ``root' root = sigma``.
        """
        if self.samples < 2:
            raise BenchError(
                f"a covariance needs at least 2 images, given {self.samples}; ask for more samples."
            )
        sums = self.complete()
        count = self.samples
        if "rows" in sums:
            mu = sums["rows"].mean(0)
            root = (sums["rows"] - mu) / (count - 1) ** 0.5
            return {"mu": mu, "sigma": root.T @ root, "count": sums["count"], "root": root}
        mu = sums["sum"] / count
        sigma = (sums["outer"] - count * torch.outer(mu, mu)) / (count - 1)
        return {"mu": mu, "sigma": sigma, "count": sums["count"]}


class HeldOutMoments(Moments):
    """Mean and covariance of real images that no training has seen."""

    name, held_out = "held-out-moments", True


class FeatureBank(Accumulator):
    """All features in float32, for metrics that compare single images."""

    name = "bank"

    def update(self, features: Tensor, first: int) -> None:
        if not self.sums:
            self.sums = {
                "features": features.new_zeros(self.samples, features.shape[1], dtype=torch.float32),
                "count": features.new_zeros((), dtype=torch.int64),
            }
        self.sums["count"] += len(features)
        self.sums["features"][first : first + len(features)] = features

    def statistics(self) -> dict[str, Tensor]:
        """Return ``features`` (N, d) in float32, in the order of the images."""
        return {"features": self.complete()["features"]}
