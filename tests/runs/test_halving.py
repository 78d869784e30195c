"""Successive halving as a plan: what it costs, who goes on, and what is scaled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.runs.budget import Budget
from bench.runs.halving import Shape, promoted, scaled

WHOLE = Budget("flops", 2e12)


def test_the_rungs_of_six_whole_budgets_by_thirds():
    """9 at a ninth, 3 at a third, and 2 on two seeds: 2T + 2T + 8T."""
    rungs = Shape().within(Budget("flops", 12e12), WHOLE)
    assert [(rung.choices, rung.budget.amount, rung.seeds) for rung in rungs] == [
        (9, 222e9, (1000,)),
        (3, 666e9, (1001,)),
        (2, 2e12, (1002, 1003)),
    ]


@given(st.integers(2, 4), st.integers(1, 4), st.integers(1, 3), st.floats(20, 500), st.floats(1e3, 1e15))
def test_the_effort_bounds_the_cost_and_one_more_setting_would_exceed_it(eta, count, last, times, size):
    shape = Shape(eta=eta, rungs=count, last_seeds=last)
    whole, effort = Budget("flops", size), Budget("flops", times * size)
    rungs = shape.within(effort, whole)

    def cost(choices: int) -> float:
        """By the closed form, with the amounts of the rungs."""
        counts = [max(choices // eta**r, 2) for r in range(count)]
        seeds = [1] * (count - 1) + [last]
        return sum(c * rung.budget.amount * s for c, rung, s in zip(counts, rungs, seeds, strict=True))

    assert sum(rung.cost for rung in rungs) == pytest.approx(cost(rungs[0].choices))
    assert cost(rungs[0].choices) <= effort.amount * (1 + 1e-9)
    assert cost(rungs[0].choices + 1) > effort.amount
    for r, rung in enumerate(rungs):
        exact = size / eta ** (count - 1 - r)
        assert 0.99 * exact <= rung.budget.amount <= exact * (1 + 1e-9)
    assert rungs[-1].budget == whole
    seeds = [seed for rung in rungs for seed in rung.seeds]
    assert len({*seeds}) == len(seeds)


def test_images_and_updates_are_whole():
    rungs = Shape().laid_out(9, Budget("updates", 10))
    assert [rung.budget.amount for rung in rungs] == [1, 3, 10]


@pytest.mark.parametrize(
    ("shape", "effort", "sentence"),
    [
        (Shape(), "flops=2T", "3 settings up to a budget of flops=2T cost flops=10T"),
        (Shape(), "images=2M", "counted in images and the budget in flops"),
        (Shape(eta=1), "flops=20T", "1 for its eta"),
    ],
)
def test_an_effort_that_cannot_be_is_a_sentence(shape, effort, sentence):
    with pytest.raises(UsageError, match=sentence):
        shape.within(Budget.parse(effort), WHOLE)


def test_the_present_recipe_goes_on_whatever_its_value_and_what_failed_does_not():
    values = [None, 3.0, 1.0, None, 2.0]
    assert promoted(values, 3, lower_is_better=True) == [0, 2, 4]
    assert promoted(values, 3, lower_is_better=False) == [0, 1, 4]
    assert promoted([9.0, None, None], 2, lower_is_better=True) == [0]
    assert promoted([1.0, 3.0, 2.0], 2, lower_is_better=True) == [0, 2]


def test_what_is_counted_in_images_has_the_part_of_the_budget():
    settings = {"warmup_images": 300_000, "ema_halflife": 17_700.0, "start": None, "off": 0, "few": 2}
    assert scaled(settings, 0.1) == {
        "warmup_images": 30_000,
        "ema_halflife": 1770.0,
        "start": None,
        "off": 0,
        "few": 1,
    }
