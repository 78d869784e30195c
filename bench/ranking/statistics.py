"""Statistics of a comparison: tests between methods, and where the noise of a number comes from."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from bench.runs.record import Direction

LEVEL = 0.05
"""A difference that chance alone exceeds less often than this counts as one."""


def mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the unbiased variance, which is 0 for equal values and for a single one.

    Both are computed from exact sums.
    """
    if min(values) == max(values):
        return float(values[0]), 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def interval(values: Sequence[float], level: float = LEVEL) -> float | None:
    """Return half the width of Student's confidence interval of the mean, at 1 - ``level``.

    Returns None for fewer than two values.
    """
    if len(values) < 2:
        return None
    standard_error = math.sqrt(mean_and_variance(values)[1] / len(values))
    return standard_error * float(special.stdtrit(len(values) - 1, 1 - level / 2))


def ranks(groups: Sequence[Sequence[float]], direction: Direction, level: float = LEVEL) -> list[int]:
    """Return the rank of each group: 1, plus one for every group that is better than it.

    Groups that cannot be told apart may share a rank.
    """
    summaries = _summaries(groups, direction)
    # a better group has a better mean: half of the pairs need no test
    order = summaries[0].argsort(kind="stable")
    in_order, places = summaries[:, order], [1] * len(groups)
    for place, i in enumerate(order):
        places[i] += int(_lower(in_order[:, :place], in_order[:, place : place + 1], level).sum())
    return places


def rank_ranges(
    groups: Sequence[Sequence[float]],
    direction: Direction,
    level: float = LEVEL,
) -> list[tuple[int, int]]:
    """Return the first and the last rank that each group may have.

    The first is 1 plus the number of better groups, the last the number of groups without the worse
    ones.
    """
    other: Direction = "higher" if direction == "lower" else "lower"
    first, from_the_end = ranks(groups, direction, level), ranks(groups, other, level)
    return [(rank, len(groups) + 1 - back) for rank, back in zip(first, from_the_end, strict=True)]


def tied(groups: Sequence[Sequence[float]], direction: Direction, level: float = LEVEL) -> list[bool]:
    """Tell for each group whether it cannot be told from the group of the best mean.

    The best one itself is not tied, and neither is a group of fewer than two values.
    """
    if not groups:
        return []
    summaries = _summaries(groups, direction)
    best = int(summaries[0].argmin())
    worse = _lower(summaries[:, best : best + 1], summaries, level)
    testable = (summaries[2] >= 1) & (summaries[2, best] >= 1)
    return [bool(close) and i != best for i, close in enumerate(testable & ~worse)]


def _summaries(groups: Sequence[Sequence[float]], direction: Direction) -> Any:
    """Return for each group its mean, the variance of the mean, and its degrees of freedom: (3, groups).

    Means of which higher is better change their sign, so that lower is better everywhere.
    """
    sign = 1 if direction == "lower" else -1
    moments = [(*mean_and_variance(values), len(values)) for values in groups]
    columns = [(sign * mean, variance / n, n - 1) for mean, variance, n in moments]
    return np.array(columns, dtype=np.float64).reshape(-1, 3).T


def _lower(first: Any, second: Any, level: float) -> Any:
    """Test elementwise whether the first groups have lower means than the second.

    This is Welch's test (Biometrika 34, 1947) on the rows of ``_summaries``. Its degrees of freedom lie
    between the smaller ones of the two groups and their sum, which settles most pairs without them.
    """
    (a, va, da), (b, vb, db) = first, second
    lower = (da >= 1) & (db >= 1) & (b > a)
    if not lower.any():
        return lower
    gap, variance = (b - a) ** 2, va + vb
    surely = special.stdtrit(max(1, min(da[da >= 1].min(), db[db >= 1].min())), 1 - level / 2) ** 2
    hardly = special.stdtrit(da.max() + db.max(), 1 - level / 2) ** 2
    doubtful = lower & (gap < surely * variance)
    lower &= gap > hardly * variance
    doubtful &= lower
    if doubtful.any():
        va, vb, da, db, gap = (np.broadcast_to(x, lower.shape)[doubtful] for x in (va, vb, da, db, gap))
        share = va / (va + vb)
        degrees = 1 / (share**2 / da + (1 - share) ** 2 / db)
        lower[doubtful] = 2 * special.stdtr(degrees, -np.sqrt(gap / (va + vb))) < level
    return lower


def variance_components(
    values: Sequence[float],
    stds: Sequence[float | None],
    replicates: Sequence[int],
) -> tuple[float | None, float | None]:
    """Split the variance of numbers by the moments of the one-way random-effects model.

    Returns two standard deviations: the noise of one replicate, which is one set of generated images of
    the same network, and the scatter of a network's true value over training seeds, without what
    evaluation adds to it. Each is None where the data cannot tell.

    Every sequence has one element for each seed: its number, which is the mean over its replicates;
    their standard deviation; and their count. The variance of the numbers is that of training plus that
    of a mean over replicates; an estimate below zero becomes zero. After Searle, Casella and McCulloch,
    Variance Components (1992), chapter 3.
    """
    spread = [
        (std, count - 1)
        for std, count in zip(stds, replicates, strict=True)
        if std is not None and count > 1
    ]
    if not spread:
        return None, None
    within = math.fsum(std**2 * degrees for std, degrees in spread) / sum(
        degrees for _, degrees in spread
    )
    if len(values) < 2:
        return math.sqrt(within), None
    of_means = math.fsum(within / count for count in replicates) / len(replicates)
    training = max(0.0, mean_and_variance(values)[1] - of_means)
    return math.sqrt(within), math.sqrt(training)
