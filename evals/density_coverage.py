"""Density and coverage: like precision and recall, and robust to a few outliers."""

from dataclasses import dataclass

from torch import Tensor

from bench.plugin import Statistics
from evals.neighbours import TIE, RealBallMetric, balls_around, nearest_distance

WITHOUT_EDGE = 1 - TIE
"""The reach of balls without their edge, as in the authors' program, so that a copy of the real set
has a density of 1. A ball of radius 0, around one of several copies, still holds the copies."""


@dataclass(frozen=True)
class Density(RealBallMetric):
    """Real images' balls around a generated one, over k (Naeem et al. 2020); higher is better.

    arXiv 2002.09797. The mean over generated images. Equal distributions give 1 on average; images
    of only the densest parts give more.
    """

    k: int = 5

    reach = WITHOUT_EDGE

    def compare(self, x: Tensor, reference: Statistics) -> float:
        return balls_around(x, reference["features"], reference["radii"]).double().mean().item() / self.k


@dataclass(frozen=True)
class Coverage(RealBallMetric):
    """Share of real images with a generated one in their ball (Naeem et al. 2020); higher is better.

    arXiv 2002.09797. Equal distributions and as many generated as real images give about ``1 - 1 /
    2^k``.
    """

    k: int = 5

    reach = WITHOUT_EDGE

    def compare(self, x: Tensor, reference: Statistics) -> float:
        return (nearest_distance(reference["features"], x) <= reference["radii"]).double().mean().item()
