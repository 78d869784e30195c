"""Whether a difference between two methods is more than the noise of their seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from scipy import stats

LEVEL = 0.05
"""A difference that chance alone would exceed less often than this is called one."""


def interval(values: Sequence[float], level: float = LEVEL) -> float | None:
    """Half the width of Student's confidence interval of the mean, at 1 - ``level``; None of fewer than two values."""
    if len(values) < 2:
        return None
    return float(stats.sem(values) * stats.t.ppf(1 - level / 2, len(values) - 1))


def better(
    first: Sequence[float], second: Sequence[float], direction: Literal["lower", "higher"] | str, level: float = LEVEL
) -> bool:
    """Whether ``first`` is better than ``second`` by Welch's two-sided test at ``level``; never of fewer than two values each."""
    if min(len(first), len(second)) < 2:
        return False
    described = [(statistics.fmean(values), statistics.stdev(values), len(values)) for values in (first, second)]
    (a, noise, _), (b, other_noise, _) = described
    ahead = a < b if direction == "lower" else a > b
    if not noise and not other_noise:
        return ahead
    return ahead and bool(stats.ttest_ind_from_stats(*described[0], *described[1], equal_var=False).pvalue < level)


def ranks(groups: Sequence[Sequence[float]], direction: Literal["lower", "higher"] | str, level: float = LEVEL) -> list[int]:
    """The rank of each group: 1, and one for every group that is better than it. What cannot be told apart may share a rank."""
    return [1 + sum(better(other, own, direction, level) for other in groups) for own in groups]
