"""What a curve of FID over compute says in one number: its area on logarithmic axes, and the compute to reach a target."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

TARGETS = (2.0, 1.2, 1.0)
"""Multiples of the teacher's own value that a table asks for."""


@dataclass(frozen=True)
class Curve:
    """A metric of which lower is better, at the evaluation points of one run; costs grow, and may begin at zero."""

    costs: tuple[float, ...]
    values: tuple[float, ...]

    def area(self) -> float | None:
        """The area under the logarithm of the value over the logarithm of the cost, as a mean: less is better.

        ``(integral of ln v d(ln c) from c_1 to c_n) / (ln c_n - ln c_1)`` by the trapezoidal rule, which is exact for straight
        lines between the points on log-log axes; c_1 is the first evaluation after zero and c_n the last. Its exponential is the
        geometric mean of the value on the way. It compares runs evaluated over one range of costs. None of fewer than two points
        after zero, and where a value is not above zero.
        """
        points = [(c, v) for c, v in zip(self.costs, self.values, strict=True) if c > 0]
        if len(points) < 2 or points[0][0] == points[-1][0] or min(v for _, v in points) <= 0:
            return None
        logs = [(math.log(c), math.log(v)) for c, v in points]
        whole = sum((b - a) * (u + v) / 2 for (a, u), (b, v) in itertools.pairwise(logs))
        return whole / (logs[-1][0] - logs[0][0])

    def cost_to_reach(self, target: float) -> float:
        """The cost at which the value first is at or below ``target``; infinite if it never is.

        Between two evaluation points the curve is a straight line on log-log axes. Where the earlier one lies at zero cost, which
        has no logarithm, the answer is the later point's: an upper bound.
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


@dataclass(frozen=True)
class Reach:
    """The compute that a method needs to reach a target, over its seeds."""

    cost: float | None
    """The median over the seeds; None if at least half of them end before they reach it."""
    reached: int
    runs: int
    spent: float
    """What the shortest of the runs that did not reach it spent, less than they would need; of all runs, if all reached it."""


def reach(curves: Sequence[Curve], target: float) -> Reach:
    """Over runs of one budget: those that end above the target are censored, which leaves a median as long as most reach it."""
    costs = [curve.cost_to_reach(target) for curve in curves]
    censored = [curve.costs[-1] for curve, cost in zip(curves, costs, strict=True) if math.isinf(cost)]
    median = statistics.median_high(costs)  # of an even number the later one: no mean with what is not known
    spent = min(censored or [curve.costs[-1] for curve in curves])
    return Reach(None if math.isinf(median) else median, len(costs) - len(censored), len(costs), spent)
