"""Areas, targets and the two noises against closed forms and simulations whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ranking.convergence import Curve, reach
from bench.ranking.statistics import variance_components

COSTS = (1e9, 4e9, 5e10, 2e12)


def power_law(scale: float, slope: float, costs=COSTS) -> Curve:
    return Curve(costs, tuple(scale * (c / 1e9) ** -slope for c in costs))


@given(scale=st.floats(0.1, 1e3), slope=st.floats(0.01, 2), factor=st.floats(1.001, 10))
def test_on_a_power_law_both_are_exact(scale, slope, factor):
    """FID = a c^-b is a straight line on log-log axes: the area is the logarithm at the middle, the
    target solves a c^-b = t.
    """
    curve = power_law(scale, slope)
    assert curve.area() == pytest.approx(math.log(scale) - slope * math.log(2e12 / 1e9) / 2, abs=1e-9)
    truth = 1e9 * factor ** (1 / slope)
    found = curve.cost_to_reach(scale / factor)
    assert (
        found == pytest.approx(truth, rel=1e-6)
        if truth < 2e12 * (1 - 1e-9)
        else math.isinf(found) or truth <= 2e12 * 1.01
    )


@given(st.floats(0.5, 2.0), st.floats(1e-3, 1e3))
def test_the_area_does_not_know_the_unit_of_cost(level, unit):
    values = tuple(level * v for v in (9.0, 4.0, 5.0, 2.0))
    assert Curve(tuple(unit * c for c in COSTS), values).area() == pytest.approx(
        Curve(COSTS, values).area(), abs=1e-9
    )


def test_zero_cost_has_no_logarithm():
    with_start = Curve((0, *COSTS), (300.0, 8.0, 4.0, 2.0, 1.0))
    assert with_start.area() == Curve(COSTS, (8.0, 4.0, 2.0, 1.0)).area()
    assert with_start.cost_to_reach(8.5) == 1e9  # an upper bound: nothing lies between it and zero
    assert with_start.cost_to_reach(300.0) == 0
    assert Curve((0, 1e9), (5.0, 2.0)).area() is None
    assert Curve((), ()).area() is None
    assert math.isinf(Curve((), ()).cost_to_reach(1.0))


def test_a_curve_that_rises_again_has_reached_its_target_the_first_time():
    curve = Curve((1.0, 10.0, 100.0, 1000.0), (4.0, 1.0, 4.0, 1.0))
    assert curve.cost_to_reach(2.0) == pytest.approx(math.sqrt(10))


def test_runs_that_never_reach_it_are_censored():
    fast, slow = power_law(4.0, 1.0), power_law(4.0, 0.01)
    every = reach([fast, fast, fast], 2.0)
    assert (every.cost, every.reached, every.runs) == (pytest.approx(2e9), 3, 3)
    most = reach([fast, fast, slow], 2.0)
    assert (most.cost, most.reached, most.runs, most.spent) == (pytest.approx(2e9), 2, 3, 2e12)
    few = reach([fast, slow, slow], 2.0)
    assert (few.cost, few.reached, few.spent) == (None, 1, 2e12)
    assert (
        reach([fast, slow], 2.0).cost is None
    )  # of two runs the middle is as far as the one that never came


def test_the_two_noises_are_told_apart():
    """Evaluation noise 0.2 and 0.4 more that all seeds share, training noise 0.3, four replicates, eight
    seeds; and without training noise none is found.
    """
    random = np.random.default_rng(0)

    def estimated(training: float) -> list[tuple[float, float]]:
        found = []
        for _ in range(1000):
            truth = random.normal(2.0, training, (8, 1))
            replicates = truth + random.normal(0, 0.2, (8, 4))
            replicates += random.normal(0, 0.4, (1, 4))  # the same images for every seed
            found.append(tuple(std**2 for std in variance_components(replicates.tolist())))
        return found

    evaluation, training = np.mean(estimated(0.3), axis=0) ** 0.5
    assert evaluation == pytest.approx(np.hypot(0.2, 0.4), rel=0.02)
    assert training == pytest.approx(0.3, rel=0.03)
    assert np.median([t for _, t in estimated(0.0)]) < 0.05**2


def test_noise_that_nothing_tells_is_none():
    assert variance_components([(1.0,), (2.0,)]) == (None, None)
    assert variance_components([(1.0, 1.2)]) == (pytest.approx(0.02**0.5), None)


def test_a_curve_is_read_between_its_points_by_lines_on_log_log_axes():
    curve = Curve((10.0, 1000.0), (100.0, 1.0))
    assert [curve.value_at(cost) for cost in (10.0, 100.0, 1000.0)] == pytest.approx([100.0, 10.0, 1.0])
    assert curve.value_at(9.0) is None and curve.value_at(1001.0) is None
    assert Curve((0.0, 10.0), (5.0, 1.0)).value_at(5.0) is None  # zero has no logarithm
    assert Curve((7.0,), (3.0,)).value_at(7.0) == 3.0
    assert Curve((), ()).value_at(1.0) is None
