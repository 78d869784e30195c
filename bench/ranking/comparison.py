"""What the rows of a table can be said to differ in: intervals, better and worse, ranks, ties.

A row's number scatters for two reasons. Training seeds make other networks; and a network's number is
measured on a finite set of generated images, a replicate. All rows are measured on the same replicates,
so that the part of the evaluation's noise that is common to them cancels in a comparison, and what is left
is how each row departs from the others on each replicate. Both parts are estimated, on logarithms where
all numbers are positive: the scatter of FID grows with FID.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from scipy import special

from bench.ranking.shrinkage import shrunk
from bench.ranking.statistics import LEVEL, mean_and_variance
from bench.runs.record import Direction

Seeds = Sequence[Sequence[float]]
"""The numbers of one row: for each training seed those of its replicates."""

_SIGNS = {"lower": 1, "higher": -1}
"""Factors by which the lower of two numbers is the better one."""
MOST_SEEDS = 1000
"""Most seeds that ``Comparison.seeds_needed`` names."""
POWER = 0.8
"""Chance to find a difference that ``Comparison.resolution`` promises."""


@dataclass(frozen=True)
class Variance:
    """Variances of the rows' means (rows,), each known to so many degrees of freedom (rows,)."""

    of_mean: Any
    degrees: Any

    @classmethod
    def nothing(cls, rows: int) -> Self:
        """Return the variance of what does not vary."""
        return cls(np.zeros(rows), np.ones(rows))


@dataclass(frozen=True)
class Ratio:
    """How many times one number is another, with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as ``1.27 (0.99 to 1.63)``."""
        estimate, low, high = (
            f"{v:.2f}" if v < 1000 else f"{v:.3g}" for v in (self.estimate, self.low, self.high)
        )
        return f"{estimate} ({low} to {high})"

    @classmethod
    def of_logs(cls, *logs: float) -> Self:
        """Make a ratio of the logarithms of its three numbers; what is too large for one is 1e300."""
        return cls(*(math.exp(min(value, math.log(1e300))) for value in logs))


@dataclass(frozen=True)
class Comparison:
    """A column of a table, compared."""

    better: Any
    """True (rows, rows) where the first row is better than the second beyond chance."""
    testable: list[bool]
    """True for a row of which enough is known to be compared: two seeds, or weights that are given."""
    intervals: list[tuple[float, float] | None]
    """Of each row's mean, evaluation noise included; None for a row without any replication."""
    resolution: float | None
    """The smallest difference between two typical rows that is found with the chance ``POWER``; None
    where nothing is tested.
    """
    relative: bool
    """True if ``resolution`` is a share of the number: 0.1 for a tenth."""
    seeds_needed: list[int | None]
    """Seeds that the row and the best one would need, by what is known of their noise, for their
    difference to be found with the chance ``POWER``; None where ``MOST_SEEDS`` are too few.
    """
    centres: Any = field(repr=False)
    """Means of the rows (rows,), of the logarithms where ``relative``, negative where higher is better."""
    parts: tuple[Variance, Variance] = field(repr=False)
    """Their variances: of training, and of the evaluation as far as it is not common to all rows."""
    direction: Direction

    def ratio(self, row: int, other: int) -> Ratio | None:
        """Return how many times the number of a row, the geometric mean of its seeds, is that of another.

        The interval is that of this ratio alone: it is not widened for the number of pairs, as ``better``
        is. Returns None where one of the rows is not tested, and where a number is not positive.
        """
        if not (self.relative and self.testable[row] and self.testable[other]):
            return None
        both = [row, other]
        variance = sum(float(part.of_mean[both].sum()) for part in self.parts)
        known = sum(float((part.of_mean[both] ** 2 / part.degrees[both]).sum()) for part in self.parts)
        degrees = variance**2 / known if known else 1.0
        half = float(special.stdtrit(degrees, 1 - LEVEL / 2)) * math.sqrt(variance)
        gap = _SIGNS[self.direction] * float(self.centres[row] - self.centres[other])
        return Ratio.of_logs(gap, gap - half, gap + half)

    def ranges(self, among: Sequence[bool]) -> list[tuple[int, int] | None]:
        """Return the first and the last rank that each row may have among some rows; None of the others
        and of those that are not tested.

        The first is 1 plus the number of better rows, the last the number of rows without the worse
        ones.
        """
        some = np.logical_and(among, self.testable)
        above = self.better[some].sum(axis=0)
        below = self.better[:, some].sum(axis=1)
        return [
            (1 + int(above[i]), int(some.sum() - below[i])) if ranks else None
            for i, ranks in enumerate(some)
        ]

    def is_among_the_best(self, row: int, among: Sequence[bool]) -> bool:
        """Tell whether a row is tested, and none of some rows is better."""
        return self.testable[row] and not (self.better[:, row] & np.array(among, dtype=bool)).any()

    def against(self, row: int, other: int) -> Literal["better", "worse", "open"] | None:
        """Tell what is known of a row and another one; None if one of them is not tested."""
        if not (self.testable[row] and self.testable[other]):
            return None
        if self.better[row, other]:
            return "better"
        return "worse" if self.better[other, row] else "open"


def compare(
    rows: Sequence[Seeds],
    direction: Direction,
    *,
    weights_given: Sequence[bool] | None = None,
    success: Sequence[float] | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Compare rows so that in at most ``level`` of all tables any of their differences is false.

    Pairs are tested by Welch's statistic with Satterthwaite's degrees of freedom and Holm's correction
    (Scandinavian Journal of Statistics 6, 1979). A row's variance over seeds, which few seeds know badly,
    is shrunk towards that of all rows by as much as the variances are alike (``shrunk``).

    ``weights_given`` marks rows that have no training seeds, such as the teacher: one number each, without
    a scatter of training, which can be compared by their replicates alone. ``success`` is each row's share of
    seeds that did not get lost, where ``rows`` has only these: a row is not called better than one that
    succeeds more often.

    tests/ranking/test_comparison.py shows how often its statements are wrong, and how often differences
    are found.
    """
    given = np.array([False] * len(rows) if weights_given is None else weights_given, dtype=bool)
    relative = all(value > 0 for row in rows for seed in row for value in seed)
    scale = math.log if relative else float
    sign = _SIGNS[direction]
    values = [[[sign * scale(v) for v in seed] for seed in row] for row in rows]
    centres = np.array([math.fsum(map(_mean, row)) / len(row) for row in values])
    training = _training(values, given)
    common = min((len(seed) for row in values for seed in row), default=0)
    together, apart = _evaluation(values, common)
    testable = np.array([len(row) > 1 for row in rows], dtype=bool) | (given & (common > 1))
    parts = [training, apart]
    better = _better(centres, parts, testable, level)
    if success is not None:
        better &= np.asarray(success)[:, None] >= np.asarray(success)
    return Comparison(
        better,
        testable.tolist(),
        _intervals(centres, [training, together], rows, relative, sign, level),
        _resolution(parts, testable & ~given, level, relative),
        relative,
        _seeds_needed(centres, parts, [len(row) for row in rows], testable, level),
        centres,
        (training, apart),
        direction,
    )


def _mean(values: Sequence[float]) -> float:
    return mean_and_variance(values)[0]


def _training(values: Sequence[Seeds], given: Any) -> Variance:
    """Return the variance of each row's mean over its training seeds."""
    counts = np.array([len(row) for row in values], dtype=float)
    own = np.array([mean_and_variance([_mean(seed) for seed in row])[1] for row in values])
    variances, degrees = shrunk(own, np.where(given, 0.0, counts - 1))
    return Variance(np.where(given, 0.0, variances / counts), np.where(degrees > 0, degrees, 1))


def _evaluation(values: Sequence[Seeds], common: int) -> tuple[Variance, Variance]:
    """Return the variance of each row's mean over replicates: all of it, and what is not common to rows.

    Only replicates that all have are used, the first ``common``. With fewer than two nothing is known
    of this noise, and it counts as none.
    """
    rows = len(values)
    if common < 2:
        return Variance.nothing(rows), Variance.nothing(rows)
    means = np.array([np.mean([seed[:common] for seed in row], axis=0) for row in values])
    replicates = np.array([len(row[0]) for row in values])
    degrees = np.full(rows, common - 1.0)
    departures = means - means.mean(axis=1, keepdims=True)
    # The common part is one draw for all rows, who know no more of it together than each alone.
    together = Variance((departures**2).sum(axis=1) / (common - 1) / replicates, degrees)
    if rows < 2:
        return together, Variance.nothing(rows)
    departures = departures - departures.mean(axis=0)
    share = (rows - 1) / rows  # of the variance that is left, and of what is known of it
    own = (departures**2).sum(axis=1) / ((common - 1) * share)
    variances, known = shrunk(own, degrees * share)
    return together, Variance(variances / replicates, known)


def _better(centres: Any, parts: Sequence[Variance], testable: Any, level: float) -> Any:
    """Return which rows are lower than which, by Holm's procedure over all pairs that are tested.

    A statistic that would be found at the strictest level with the fewest degrees of freedom, or not at
    the mildest with the most, needs no distribution function: a long table has millions of pairs.
    """
    rows = len(centres)
    better = np.zeros((rows, rows), dtype=bool)
    order = np.flatnonzero(testable)[centres[testable].argsort(kind="stable")]
    if (pairs := len(order) * (len(order) - 1) // 2) == 0:
        return better
    variance, known = sum(p.of_mean for p in parts), sum(p.of_mean**2 / p.degrees for p in parts)
    fewest = min(float(p.degrees[testable].min()) for p in parts)
    surely = special.stdtrit(fewest, 1 - level / pairs / 2) ** 2
    hardly = special.ndtri(1 - level / 2) ** 2
    doubtful: list[tuple[Any, Any, Any]] = []
    for place, i in enumerate(order[:-1]):
        others = order[place + 1 :]
        gap, total = (centres[others] - centres[i]) ** 2, variance[others] + variance[i]
        sure = gap > surely * total
        better[i, others[sure]] = True
        open_ = ~sure & (gap > hardly * total)
        others, gap, total = others[open_], gap[open_], total[open_]
        degrees = total**2 / (known[others] + known[i])
        doubtful.append(
            (np.full(len(others), i), others, 2 * special.stdtr(degrees, -np.sqrt(gap / total)))
        )
    i, j, p = (np.concatenate(x) for x in zip(*doubtful, strict=True))
    order = p.argsort(kind="stable")
    holds = p[order] <= level / (pairs - better.sum() - np.arange(len(p)))
    found = order[: len(order) if holds.all() else int(holds.argmin())]
    better[i[found], j[found]] = True
    return better


def _intervals(
    centres: Any,
    parts: Sequence[Variance],
    rows: Sequence[Seeds],
    relative: bool,
    sign: int,
    level: float,
) -> list[tuple[float, float] | None]:
    """Return Student's interval of each mean, in the units of the column."""
    unit = math.exp if relative else float
    variance, degrees = _together(parts)
    half = special.stdtrit(degrees, 1 - level / 2) * np.sqrt(variance)
    ends = [
        tuple(sorted(unit(sign * float(c + h)) for h in (-width, width)))
        for c, width in zip(centres, half, strict=True)
    ]
    repeated = [len(row) > 1 or len(row[0]) > 1 for row in rows]
    return [(low, high) if many else None for (low, high), many in zip(ends, repeated, strict=True)]


def _together(parts: Sequence[Variance]) -> tuple[Any, Any]:
    """Add variances; the degrees of freedom of the sum are Satterthwaite's (Biometrics Bulletin 2, 1946)."""
    variance = sum(part.of_mean for part in parts)
    known = sum(part.of_mean**2 / part.degrees for part in parts)
    return variance, np.divide(variance**2, known, out=np.ones_like(variance), where=known > 0)


def _resolution(parts: Sequence[Variance], among: Any, level: float, relative: bool) -> float | None:
    """Return the gap between two rows of median variance that is found with the chance ``POWER``."""
    if (rows := int(among.sum())) < 2:
        return None
    variance, degrees = (np.median(x[among]) for x in _together(parts))
    pairs = rows * (rows - 1) / 2
    gap = float(_found(2 * degrees, level / pairs) * np.sqrt(2 * variance))
    return math.expm1(gap) if relative else gap


def _found(degrees: Any, level: float) -> Any:
    """Return how many standard errors a difference must have to be found with the chance ``POWER``."""
    return special.stdtrit(degrees, 1 - level / 2) + special.stdtrit(degrees, POWER)


def _seeds_needed(
    centres: Any, parts: Sequence[Variance], seeds: Sequence[int], testable: Any, level: float
) -> list[int | None]:
    """Return for each row the seeds that would tell it from the best, at Holm's strictest level."""
    rows = np.flatnonzero(testable)
    if len(rows) < 2:
        return [None] * len(seeds)
    best = rows[centres[rows].argmin()]
    training, evaluation = parts
    of_a_pair = level / (len(rows) * (len(rows) - 1) / 2)
    has = np.array(seeds, dtype=float)

    def enough(count: Any) -> Any:
        times = count / has, count / has[best]
        own = Variance(training.of_mean / times[0], training.degrees * times[0])
        bests = Variance(training.of_mean[best] / times[1], training.degrees[best] * times[1])
        other = Variance(evaluation.of_mean[best], evaluation.degrees[best])
        variance, degrees = _together([own, bests, evaluation, other])
        return abs(centres - centres[best]) >= _found(degrees, of_a_pair) * np.sqrt(variance)

    low, high = np.full(len(seeds), 2), np.full(len(seeds), MOST_SEEDS)
    while (low < high).any():  # bisection: more seeds find more
        middle = (low + high) // 2
        at_middle = enough(middle)
        low, high = np.where(at_middle, low, middle + 1), np.where(at_middle, middle, high)
        low = np.minimum(low, high)
    told = enough(high) & testable
    return [
        int(n) if ok and i != best else None for i, (n, ok) in enumerate(zip(high, told, strict=True))
    ]
