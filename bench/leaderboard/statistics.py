"""Whether a difference between two methods is more than the noise of their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import special

LEVEL = 0.05
"""A difference that chance alone would exceed less often than this is called one."""

Direction = Literal["lower", "higher"] | str


def mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """Mean and unbiased variance, from exact sums; the variance of equal values and of a single one is 0."""
    if min(values) == max(values):
        return float(values[0]), 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def interval(values: Sequence[float], level: float = LEVEL) -> float | None:
    """Half the width of Student's confidence interval of the mean, at 1 - ``level``; None of fewer than two values."""
    if len(values) < 2:
        return None
    return math.sqrt(mean_and_variance(values)[1] / len(values)) * float(special.stdtrit(len(values) - 1, 1 - level / 2))


def ranks(groups: Sequence[Sequence[float]], direction: Direction, level: float = LEVEL) -> list[int]:
    """The rank of each group: 1, and one for every group that is better than it. What cannot be told apart may share a rank."""
    described = _described(groups, direction)
    order = described[0].argsort(kind="stable")  # what is better has a better mean: half of the pairs need no test
    in_order, found = described[:, order], [1] * len(groups)
    for place, i in enumerate(order):
        found[i] += int(_lower(in_order[:, :place], in_order[:, place : place + 1], level).sum())
    return found


def rank_ranges(groups: Sequence[Sequence[float]], direction: Direction, level: float = LEVEL) -> list[tuple[int, int]]:
    """The first and the last rank that each group may have: 1 and one for every better one, all of them but the worse ones."""
    other = "higher" if direction == "lower" else "lower"
    first, from_the_end = ranks(groups, direction, level), ranks(groups, other, level)
    return [(rank, len(groups) + 1 - back) for rank, back in zip(first, from_the_end, strict=True)]


def tied(groups: Sequence[Sequence[float]], direction: Direction, level: float = LEVEL) -> list[bool]:
    """Which groups cannot be told from the one of the best mean, itself left out; none of fewer than two values."""
    if not groups:
        return []
    described = _described(groups, direction)
    best = int(described[0].argmin())
    told = _lower(described[:, best : best + 1], described, level)
    testable = (described[2] >= 1) & (described[2, best] >= 1)
    return [bool(t) and i != best for i, t in enumerate(testable & ~told)]


def _described(groups: Sequence[Sequence[float]], direction: Direction) -> Any:
    """For each group its mean, turned so that lower is better, that mean's variance, and its degrees of freedom: (3, groups)."""
    sign = 1 if direction == "lower" else -1
    columns = [(sign * mean, variance / n, n - 1) for (mean, variance), n in ((mean_and_variance(v), len(v)) for v in groups)]
    return np.array(columns, dtype=np.float64).reshape(-1, 3).T


def _lower(first: Any, second: Any, level: float) -> Any:
    """Whether the first ones are lower than the second ones, elementwise: Welch, Biometrika 34 (1947).

    Welch's degrees of freedom lie between the smaller ones of the two and their sum, which settles most pairs without them.
    """
    (a, va, da), (b, vb, db) = first, second
    found = (da >= 1) & (db >= 1) & (b > a)
    if not found.any():
        return found
    gap, variance = (b - a) ** 2, va + vb
    surely = special.stdtrit(max(1, min(da[da >= 1].min(), db[db >= 1].min())), 1 - level / 2) ** 2
    hardly = special.stdtrit(da.max() + db.max(), 1 - level / 2) ** 2
    doubtful = found & (gap < surely * variance)
    found &= gap > hardly * variance
    doubtful &= found
    if doubtful.any():
        va, vb, da, db, gap = (np.broadcast_to(x, found.shape)[doubtful] for x in (va, vb, da, db, gap))
        share = va / (va + vb)
        degrees = 1 / (share**2 / da + (1 - share) ** 2 / db)
        found[doubtful] = 2 * special.stdtr(degrees, -np.sqrt(gap / (va + vb))) < level
    return found


@dataclass(frozen=True)
class VarianceComponents:
    """Standard deviations; None where there is nothing to tell them from."""

    evaluation: float | None
    """Of one replicate, that is of one set of generated images of the same network."""
    training: float | None
    """Of a network's true value over training seeds: what is left of the scatter of the seeds' numbers once that is taken out."""


def variance_components(values: Sequence[float], stds: Sequence[float | None], replicates: Sequence[int]) -> VarianceComponents:
    """Both noises, by the moments of the one-way random-effects model (Searle, Casella and McCulloch, 1992, chapter 3).

    One of each for every seed: its number, which is the mean over its replicates; their standard deviation; how many they are.
    The variance of the numbers is that of training plus that of a mean over replicates; an estimate below zero is zero.
    """
    spread = [(std, count - 1) for std, count in zip(stds, replicates, strict=True) if std is not None and count > 1]
    if not spread:
        return VarianceComponents(None, None)
    within = math.fsum(std**2 * degrees for std, degrees in spread) / sum(degrees for _, degrees in spread)
    if len(values) < 2:
        return VarianceComponents(math.sqrt(within), None)
    of_means = math.fsum(within / count for count in replicates) / len(replicates)
    return VarianceComponents(math.sqrt(within), math.sqrt(max(0.0, mean_and_variance(values)[1] - of_means)))
