"""Which seeds are lost, and how stable places are."""

from __future__ import annotations

import numpy as np

from bench.ranking.resampling import places
from bench.ranking.success import diverged, succeeded
from tests.helpers.records import record


def test_a_seed_is_lost_that_is_more_than_twice_as_bad_as_the_best_of_its_row():
    assert succeeded([5.4, 2.0, 2.5, 4.0], "lower") == [False, True, True, True]
    assert succeeded([5.0, 9.0, 4.4], "higher") == [True, True, False]
    assert succeeded([0.0, -1.0, 5.0], "lower") == [True] * 3
    assert succeeded([], "lower") == []


def test_a_seed_whose_training_diverged_is_lost_unless_another_run_of_it_finished():
    runs = [record(seed=seed) for seed in range(4)]
    for run, error in zip(
        runs,
        [
            "training diverged: ...",
            "the disk is full",
            "the generator returns NaN or infinite values: the run has diverged",
            None,
        ],
        strict=True,
    ):
        run.status, run.error = "failed", error
    assert diverged(runs, seeds=[2]) == {0}


def test_places_are_those_of_all_tables_that_the_seeds_could_have_given():
    """Of two rows of two seeds each: the means are 1, 3, 5 by 1:2:1 and 2, 4, 6 by 1:2:1."""
    far = places([[1.0, 1.1], [5.0, 5.1], [9.0, 9.1]], "lower")
    assert far == [(1, 1), (2, 2), (3, 3)]
    assert places([[1.0, 1.1], [5.0, 5.1]], "higher") == [(2, 2), (1, 1)]
    assert places([[1.0, 5.0], [2.0, 6.0], [20.0]], "lower") == [(1, 2), (1, 2), (3, 3)]
    same = np.random.default_rng(0).normal(0, 1, (4, 5)).tolist()
    assert places(same, "lower") == places(same, "lower")
