"""Which axis the runs of a comparison were matched on."""

from __future__ import annotations

from bench.ranking.curves import matched_axis
from tests.helpers.records import record


def with_budget(budget: str | None, seed: int):
    made = record("sid", seed)
    made.recipe.budget = budget
    return made


def test_curves_are_first_drawn_against_the_axis_of_most_budgets():
    assert matched_axis([with_budget("flops=2T", 0), with_budget("seconds=60", 1)]) == "flops"
    assert matched_axis(
        [with_budget("flops=2T", 0), *(with_budget("seconds=60", s) for s in (1, 2))]
    ) == ("seconds")
    assert matched_axis([with_budget(None, 0)]) == "images"  # a teacher has no budget
