"""What the rows of a table can be said to differ in: intervals, better and worse, ranks, ties.

A row's number scatters for two reasons. Training seeds make other networks; and a network's number is
measured on a finite set of generated images, a replicate. All rows are measured on the same replicates,
so that the part of the evaluation's noise that is common to them cancels in a comparison, and what is left
is how each row departs from the others on each replicate. Both parts are estimated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from scipy import special

from bench.ranking.power import seeds_needed, smallest_gap
from bench.ranking.shrinkage import Variance, shrunk, together
from bench.ranking.statistics import LEVEL, mean_and_variance
from bench.runs.record import Direction

Seeds = Sequence[Sequence[float]]
"""The numbers of one row: for each training seed those of its replicates."""

_SIGNS = {"lower": 1, "higher": -1}
"""Factors by which the lower of two numbers is the better one."""


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
    """True for a row of which enough is known to be compared: numbers of two seeds that differ, or of two
    replicates where its weights are given.
    """
    intervals: list[tuple[float, float] | None]
    """Of each row's mean, evaluation noise included as far as it is known; None where nothing is."""
    resolution: float | None
    """The smallest difference between two typical rows that is found with the chance ``POWER``; None
    where nothing is tested.
    """
    relative: bool
    """True if ``resolution`` is a share of the number: 0.1 for a tenth."""
    seeds_needed: list[float | None]
    """Seeds that the row and the best ranked one would need for their difference to be found, as
    ``power.seeds_needed`` says.
    """
    evaluation_known: bool
    """True if the noise of the evaluation could be estimated and is in the tests."""
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
        both = together([Variance(p.of_mean[i], p.degrees[i]) for p in self.parts for i in (row, other)])
        half = float(special.stdtrit(both.degrees, 1 - LEVEL / 2)) * math.sqrt(both.of_mean)
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
    targets: Sequence[int | None] | None = None,
    lost: Sequence[bool] | None = None,
    logarithms: bool = True,
    level: float = LEVEL,
) -> Comparison:
    """Compare rows so that in at most ``level`` of all tables any of their differences is false.

    Pairs are tested by Welch's statistic with Satterthwaite's degrees of freedom and Holm's correction
    (Scandinavian Journal of Statistics 6, 1979). A row's variance over seeds, which few seeds know badly,
    is shrunk towards that of all rows by as much as the variances are alike (``shrunk``).
    tests/ranking/test_comparison.py shows how often the statements are wrong, and how often differences are
    found.

    Args:
        rows: at least one seed and one replicate each.
        weights_given: true for rows that have no training seeds, such as the teacher: one number each,
            without a scatter of training. They are compared by their replicates, and only with the rows
            whose target they are.
        targets: for each row the place of the one with given weights that it is compared with, if any.
        lost: true for rows that lost a seed, whose variance may stand apart from the others.
        logarithms: whether ratios count, as for FID, whose scatter grows with it. Numbers that are not
            all above zero are compared by their differences all the same.
    """
    given = (
        np.zeros(len(rows), dtype=bool) if weights_given is None else np.array(weights_given, dtype=bool)
    )
    relative = logarithms and all(value > 0 for row in rows for seed in row for value in seed)
    scale, sign = math.log if relative else float, _SIGNS[direction]
    values = [[[sign * scale(v) for v in seed] for seed in row] for row in rows]
    centres = np.array([math.fsum(map(_mean, row)) / len(row) for row in values])
    training = _training(
        values, given, np.zeros(len(rows), dtype=bool) if lost is None else np.array(lost)
    )
    replicates = [min(map(len, row)) for row in values]
    noise, apart = _evaluation(values, replicates)
    parts = [training, apart]
    varies = together(parts).of_mean > 0
    enough = [r > 1 if g else len(row) > 1 for row, r, g in zip(rows, replicates, given, strict=True)]
    testable = varies & np.array(enough, dtype=bool)
    pairs = _pairs(testable, given, targets)
    better = _better(centres, parts, pairs, level)
    ranked = testable & ~given
    of_a_pair = level / max(int(pairs.sum()), 1)
    gap = smallest_gap(parts, ranked, of_a_pair)
    needed: list[float | None] = [None] * len(rows)
    if ranked.any():
        best = int(np.where(ranked, centres, np.inf).argmin())
        seeds = np.array([len(row) for row in rows], dtype=float)
        found = seeds_needed(centres, training, apart, seeds, best, of_a_pair)
        needed = [n if ok else None for n, ok in zip(found, ranked, strict=True)]
    return Comparison(
        better,
        testable.tolist(),
        _intervals(centres, [training, noise], relative, sign, level),
        math.expm1(gap) if gap is not None and relative else gap,
        relative,
        needed,
        bool(apart.of_mean.any()),
        centres,
        (training, apart),
        direction,
    )


def _mean(values: Sequence[float]) -> float:
    return mean_and_variance(values)[0]


def _training(values: Sequence[Seeds], given: Any, lost: Any) -> Variance:
    """Return the variance of each row's mean over its training seeds."""
    counts = np.array([len(row) for row in values], dtype=float)
    own = np.array([mean_and_variance([_mean(seed) for seed in row])[1] for row in values])
    variances, degrees = shrunk(own, np.where(given, 0.0, counts - 1), lost)
    return Variance(np.where(given, 0.0, variances / counts), np.where(degrees > 0, degrees, 1))


def _evaluation(values: Sequence[Seeds], replicates: Sequence[int]) -> tuple[Variance, Variance]:
    """Return the variance of each row's mean over replicates: all of it, and what is not common to rows.

    Both are known from the rows that have two replicates or more, by those that all of them have; a row of
    a single one gets their mean. Where rows have unequal numbers of replicates, the common noise does not
    cancel, and those with fewer have it as their own. If no row has two, nothing is known, and it counts
    as none.
    """
    rows, counts = len(values), np.array(replicates)
    several = counts > 1
    if not several.any():
        return Variance.nothing(rows), Variance.nothing(rows)
    common, number = int(counts[several].min()), int(several.sum())
    means = np.array(
        [
            np.mean([seed[:common] for seed in row], axis=0)
            for row, many in zip(values, several, strict=True)
            if many
        ]
    )
    departures = means - means.mean(axis=1, keepdims=True)
    # The common part is one draw for all rows, who know no more of it together than each alone.
    every = (departures**2).sum(axis=1) / (common - 1)
    noise = np.full(rows, every.mean())
    noise[several] = every
    degrees = np.full(rows, common - 1.0)
    all_of_it = Variance(noise / counts, degrees)
    if number < 2:
        return all_of_it, all_of_it
    departures = departures - departures.mean(axis=0)
    share = (number - 1) / number  # of the variance that is left, and of what is known of it
    own, known = shrunk(
        (departures**2).sum(axis=1) / ((common - 1) * share), np.full(number, (common - 1) * share)
    )
    left, of_left = np.full(rows, own.mean()), np.full(rows, float(known.mean()))
    left[several], of_left[several] = own, known
    shared = max(0.0, float(every.mean() - own.mean()))
    left = left + np.where(counts < counts.max(), shared, 0.0)
    return all_of_it, Variance(left / counts, of_left)


def _pairs(testable: Any, given: Any, targets: Sequence[int | None] | None) -> Any:
    """Return which pairs are tested (rows, rows), each once: trained rows, and each with its target."""
    ranked = testable & ~given
    pairs = np.triu(ranked[:, None] & ranked, 1)
    for row, target in enumerate(targets or []):
        if target is not None and ranked[row] and testable[target]:
            pairs[min(row, target), max(row, target)] = True
    return pairs


def _better(centres: Any, parts: list[Variance], pairs: Any, level: float) -> Any:
    """Return which rows are lower than which, by Holm's procedure over these pairs.

    A statistic that would be found at the strictest level with the fewest degrees of freedom, or not at
    the mildest with the most, needs no distribution function: a long table has millions of pairs.
    """
    better = np.zeros(pairs.shape, dtype=bool)
    if (count := int(pairs.sum())) == 0:
        return better
    variance = sum(p.of_mean for p in parts)
    spread = sum(p.of_mean**2 / p.degrees for p in parts)
    fewest = min(float(p.degrees.min()) for p in parts)
    surely = special.stdtrit(fewest, 1 - level / count / 2) ** 2
    hardly = special.ndtri(1 - level / 2) ** 2
    doubtful: list[tuple[Any, Any, Any]] = []
    for i in np.flatnonzero(pairs.any(axis=1)):
        others = np.flatnonzero(pairs[i])
        gap, total = (centres[others] - centres[i]) ** 2, variance[others] + variance[i]
        sure = gap > surely * total
        better[i, others[sure]] = True
        maybe = ~sure & (gap > hardly * total)
        others, gap, total = others[maybe], gap[maybe], total[maybe]
        degrees = total**2 / (spread[others] + spread[i])
        doubtful.append(
            (np.full(len(others), i), others, 2 * special.stdtr(degrees, -np.sqrt(gap / total)))
        )
    first, second, p = (np.concatenate(x) for x in zip(*doubtful, strict=True))
    by_p = p.argsort(kind="stable")
    holds = p[by_p] <= level / (count - better.sum() - np.arange(len(p)))
    found = by_p[: len(by_p) if holds.all() else int(holds.argmin())]
    better[first[found], second[found]] = True
    return (better | better.T) & (centres[:, None] < centres)


def _intervals(
    centres: Any, parts: list[Variance], relative: bool, sign: int, level: float
) -> list[tuple[float, float] | None]:
    """Return Student's interval of each mean, in the units of the column; None where nothing varies."""
    unit = math.exp if relative else float
    every = together(parts)
    half = special.stdtrit(every.degrees, 1 - level / 2) * np.sqrt(every.of_mean)
    intervals: list[tuple[float, float] | None] = []
    for centre, width in zip(centres, half, strict=True):
        low, high = sorted(unit(sign * float(centre + h)) for h in (-width, width))
        intervals.append((low, high) if width > 0 else None)
    return intervals
