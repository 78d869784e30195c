"""Two numbers for a curve of FID over compute: its area, and the compute to reach a target.

Both are taken on logarithmic axes.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.runs.record import Record

TARGETS = (2.0, 1.2, 1.0)
"""Multiples of the teacher's own number that a table has columns for."""


@dataclass(frozen=True)
class Curve:
    """A metric of which lower is better, at the evaluation points of one run.

    Costs grow from point to point, and may begin at zero.
    """

    costs: tuple[float, ...]
    values: tuple[float, ...]

    def area(self) -> float | None:
        """Return the mean of the logarithm of the value over the logarithm of the cost: less is better.

        ``(integral of ln v d(ln c) from c_1 to c_n) / (ln c_n - ln c_1)`` by the trapezoidal rule, which
        is exact for straight lines between the points on log-log axes; c_1 is the cost of the first
        evaluation after zero and c_n that of the last. Its exponential is the geometric mean of the
        value on the way. It compares runs evaluated over one range of costs. Returns None for fewer than
        two points after zero, and where a value is not above zero.
        """
        points = [(c, v) for c, v in zip(self.costs, self.values, strict=True) if c > 0]
        if len(points) < 2 or points[0][0] == points[-1][0] or min(v for _, v in points) <= 0:
            return None
        logs = [(math.log(c), math.log(v)) for c, v in points]
        whole = sum((b - a) * (u + v) / 2 for (a, u), (b, v) in itertools.pairwise(logs))
        return whole / (logs[-1][0] - logs[0][0])

    def value_at(self, cost: float) -> float | None:
        """Return the value at a cost, by straight lines on log-log axes between the points.

        Returns None before the first and after the last of them, and where the two beside it have no
        logarithm.
        """
        points = list(zip(self.costs, self.values, strict=True))
        for (before, above), (after, value) in itertools.pairwise(points):
            if before <= cost <= after:
                if cost in (before, after):
                    return above if cost == before else value
                if min(before, above, value) <= 0:
                    return None
                share = math.log(cost / before) / math.log(after / before)
                return math.exp(math.log(above) + share * math.log(value / above))
        return points[0][1] if len(points) == 1 and points[0][0] == cost else None

    def cost_to_reach(self, target: float) -> float:
        """Return the cost at which the value first is at or below ``target``; infinite if it never is.

        Between two evaluation points the curve is a straight line on log-log axes. Where the earlier one
        lies at zero cost, which has no logarithm, the cost of the later one is returned: an upper bound.
        """
        points = list(zip(self.costs, self.values, strict=True))
        if not points:
            return math.inf
        if points[0][1] <= target:
            return points[0][0]
        for (before, above), (after, value) in itertools.pairwise(points):
            if value > target:
                continue
            if before <= 0 or value <= 0 or target <= 0:
                return after
            share = math.log(above / target) / math.log(above / value)
            return math.exp(math.log(before) + share * math.log(after / before))
        return math.inf


def curve_of(record: Record, metric: str, axis: str = "flops") -> Curve:
    """Return the metric of the trained generator over one of ``AXES``.

    Points that were measured at another number of steps than the result are left out.
    """
    points = [e for e in record.evaluations if e.updates and metric in e.metrics and e.nfe == record.nfe]
    costs = tuple(float(getattr(point, axis)) for point in points)
    return Curve(costs, tuple(point.metrics[metric].value for point in points))


@dataclass(frozen=True)
class Reach:
    """The compute that a method needs to reach a target: how many of its ``runs`` have ``reached`` it."""

    cost: float | None
    """Median over the seeds; None if at least half of them end before they reach the target."""
    reached: int
    runs: int
    spent: float
    """The least cost that a run spent without reaching the target, which is less than it would need.

    Where all runs reached it, the least cost that any of them spent.
    """


def reach(curves: Sequence[Curve], target: float) -> Reach:
    """Return the compute to reach a target, over runs of one budget.

    Runs that end above the target are censored, which leaves a median as long as most of them reach it.
    """
    costs = [curve.cost_to_reach(target) for curve in curves]
    censored = [curve.costs[-1] for curve, cost in zip(curves, costs, strict=True) if math.isinf(cost)]
    # Of an even number the later one, as a cost that is not known has no mean with another.
    median = statistics.median_high(costs)
    spent = min(censored or [curve.costs[-1] for curve in curves])
    return Reach(None if math.isinf(median) else median, len(costs) - len(censored), len(costs), spent)
