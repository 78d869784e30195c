"""Successive halving as a plan: how many settings are tried at which budget and on which seeds, so that the
whole costs a stated effort.

Many settings are tried at a part of the budget, the best at a larger part, and the last ones at the whole of
it. (Jamieson and Talwalkar, Non-stochastic Best Arm Identification, AISTATS 2016; Li et al., Hyperband, JMLR
2018.) A run at a larger budget begins anew, as its learning rate falls over another length.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError
from bench.runs.budget import Budget
from bench.runs.search import MOST_TRIALS
from bench.units import quantity, short_budget

FEWEST = 3
"""Fewest settings of a search: the present recipe, the published values, and one more."""


@dataclass(frozen=True)
class Rung:
    """One round: so many settings, each at one budget on every seed."""

    choices: int
    budget: Budget
    fraction: float
    """Its part of the whole budget."""
    seeds: tuple[int, ...]

    @property
    def runs(self) -> int:
        """Runs of the rung."""
        return self.choices * len(self.seeds)

    @property
    def cost(self) -> float:
        """What its runs may spend, on the budget's axis."""
        return self.runs * self.budget.amount

    def __str__(self) -> str:
        seeds = " and ".join(map(str, self.seeds))
        return (
            f"{self.choices} settings at {short_budget(str(self.budget))} on seed"
            f"{'s' * (len(self.seeds) > 1)} {seeds}"
        )


@dataclass(frozen=True)
class Shape:
    """The shape of a search, whatever its size."""

    eta: int = 3
    """The factor by which budgets grow and settings become fewer."""
    rungs: int = 3
    """The first rung has 1 / eta^(rungs - 1) of the budget."""
    seed: int = 1000
    """Seed of the first rung. Each has one of its own, so that no luck is carried upwards."""
    last_seeds: int = 2
    """Seeds of the last rung, over which the winner is the best in the mean."""

    def laid_out(self, choices: int, whole: Budget) -> list[Rung]:
        """Return the rungs of a search that begins with so many settings.

        At least two come to the last one: the present recipe and its best rival.
        """
        last = self.rungs - 1
        rungs = []
        for number in range(self.rungs):
            fraction = float(self.eta) ** (number - last)
            seeds = range(
                self.seed + number, self.seed + number + (self.last_seeds if number == last else 1)
            )
            count = max(choices // self.eta**number, min(choices, 2))
            budget = whole if number == last else Budget(whole.axis, _short(whole, fraction))
            rungs.append(Rung(count, budget, budget.amount / whole.amount, tuple(seeds)))
        return rungs

    def within(self, effort: Budget, whole: Budget) -> list[Rung]:
        """Return the rungs of the largest search whose cost is at most the effort.

        Raises UsageError for a shape that cannot be, an effort on another axis, and one that is too small.
        """
        for name, value, fewest in (
            ("eta", self.eta, 2),
            ("rungs", self.rungs, 1),
            ("last seeds", self.last_seeds, 1),
        ):
            if value < fewest:
                raise UsageError(
                    f"a halving with {value} for its {name} cannot be; expected {fewest} or more."
                )
        if effort.axis != whole.axis:
            raise UsageError(
                f"the effort is counted in {effort.axis} and the budget in {whole.axis}; give both on "
                f"one axis, such as --effort {whole.axis}={quantity(6 * whole.amount)}."
            )

        def cost(choices: int) -> float:
            return sum(rung.cost for rung in self.laid_out(choices, whole))

        least = cost(FEWEST)
        if least > effort.amount:
            raise UsageError(
                f"an effort of {short_budget(str(effort))} is too small: {FEWEST} settings up to a budget of "
                f"{short_budget(str(whole))} cost {effort.axis}={quantity(least)}; give more, or a "
                "smaller --budget."
            )
        choices = FEWEST
        while choices < MOST_TRIALS and cost(choices + 1) <= effort.amount:
            choices += 1
        return self.laid_out(choices, whole)


def _short(whole: Budget, fraction: float) -> float:
    """Return a part of an amount in three digits, none of them rounded up: in whole images or updates."""
    amount = whole.amount * fraction
    digit = 10.0 ** (math.floor(math.log10(amount)) - 2)
    if whole.axis in ("images", "updates"):
        digit = max(digit, 1.0)
    return max(float(f"{math.floor(amount / digit + 1e-9) * digit:.15g}"), digit)


def promoted(values: Sequence[float | None], count: int, lower_is_better: bool) -> list[int]:
    """Return the places of those that go on to the next rung, in their order: the first, which is the present
    recipe, whatever its value, and the best of the others. One that failed, which has None, does not go on.
    """
    sign = 1 if lower_is_better else -1
    others = [(sign * value, place) for place, value in enumerate(values) if place and value is not None]
    return [0, *sorted(place for _, place in sorted(others)[: count - 1])]


def scaled(settings: Mapping[str, Any], fraction: float) -> dict[str, Any]:
    """Return the numbers that belong to a part of the budget, whole ones where they were whole."""
    return {
        name: value
        if not value or isinstance(value, bool)
        else max(round(value * fraction), 1)
        if isinstance(value, int)
        else float(f"{value * fraction:.3g}")
        for name, value in settings.items()
    }
