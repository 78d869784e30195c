"""Intervals, tests and ranks against scipy and against simulations whose truth is known."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.ranking.statistics import interval, mean_and_variance, rank_ranges, ranks, tied


def better(first, second, direction):
    """Whether the first of two groups takes the rank before the second."""
    return ranks([first, second], direction) == [1, 2]


VALUES = st.lists(st.floats(-100, 100).map(lambda v: round(v, 3)), min_size=2, max_size=6)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_interval_of_the_mean_covers_the_truth_as_often_as_it_says(seeds):
    random = np.random.default_rng(0)
    draws = random.normal(1.5, 0.3, (4000, seeds))
    covered = np.mean([abs(d.mean() - 1.5) <= interval(d) for d in draws])
    assert covered == pytest.approx(0.95, abs=0.02)
    assert interval([1.0]) is None


def test_methods_of_one_law_are_called_different_as_seldom_as_the_level_says():
    random = np.random.default_rng(0)
    found = [
        better(a, b, "lower") or better(b, a, "lower") for a, b in random.normal(0, 1, (4000, 2, 5))
    ]
    assert np.mean(found) == pytest.approx(0.05, abs=0.02)


@given(first=VALUES, second=VALUES)
def test_better_is_welchs_test_and_one_sided_of_the_two(first, second):
    found = better(first, second, "lower"), better(second, first, "lower")
    assert not all(found)
    if len({*first}) > 1 and len({*second}) > 1:
        difference = stats.ttest_ind(first, second, equal_var=False).pvalue < 0.05
        assert any(found) == difference
    assert better(first, second, "lower") == better([-v for v in first], [-v for v in second], "higher")


def test_ranks_count_what_is_better_and_leave_ties_together():
    close, far = [1.0, 1.1, 1.2], [5.0, 5.1, 5.2]
    assert ranks([close, [1.05, 1.12, 1.2], far], "lower") == [1, 1, 3]
    assert ranks([close, far], "higher") == [2, 1]
    assert ranks([[1.0], [9.0]], "lower") == [1, 1]  # of one seed nothing can be said
    assert ranks([[1.0, 1.0], [2.0, 2.0]], "lower") == [1, 2]
    assert ranks([], "lower") == []


@given(
    groups=st.lists(
        st.lists(st.floats(-100, 100).map(lambda v: round(v, 3)), min_size=1, max_size=5), max_size=8
    )
)
def test_ranks_of_many_are_those_of_scipys_test_pair_by_pair(groups):
    def beats(a, b):
        if min(len(a), len(b)) < 2 or not np.mean(a) < np.mean(b):
            return False
        described = [
            (statistics.fmean(v), statistics.stdev(v), len(v)) for v in (a, b)
        ]  # ttest_ind warns of equal values
        same = len({*a}) == len({*b}) == 1
        return (
            same
            or stats.ttest_ind_from_stats(*described[0], *described[1], equal_var=False).pvalue < 0.05
        )

    means = [np.mean(g) for g in groups]
    if all(abs(a - b) > 1e-9 for i, a in enumerate(means) for b in means[:i]):
        assert ranks(groups, "lower") == [
            1 + sum(beats(other, own) for other in groups) for own in groups
        ]
        told = tied(groups, "lower")
        for i, group in enumerate(groups):
            best = groups[int(np.argmin(means))]
            testable = min(len(best), len(group)) > 1 and group is not best
            assert told[i] == (testable and not beats(best, group))


def test_what_is_tied_with_the_best_is_told_by_the_same_test():
    assert tied([[1.0, 1.1, 1.2], [1.05, 1.12, 1.2], [5.0, 5.1, 5.2], [1.1]], "lower") == [
        False,
        True,
        False,
        False,
    ]
    assert tied([[1.0], [1.1, 1.2]], "lower") == [
        False,
        False,
    ]  # the best has one seed: nothing can be said


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_moments_are_those_of_statistics(values):
    mean, variance = mean_and_variance(values)
    assert mean == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-9)
    assert variance == pytest.approx(statistics.variance(values), rel=1e-9, abs=1e-9)


def test_equal_values_have_no_variance_at_all():
    assert mean_and_variance([0.1] * 3) == (0.1, 0.0)
    assert ranks([[0.1] * 3, [0.1] * 2], "lower") == [1, 1]


def test_a_range_of_ranks_leaves_open_what_the_noise_leaves_open():
    """A group that scatters over all others may have any rank; the others keep the order that they show."""
    good, fair, bad, wild = [1.0, 1.1, 1.2], [5.0, 5.1, 5.2], [9.0, 9.1, 9.2], [0.0, 5.0, 16.0]
    assert rank_ranges([good, fair, bad, wild], "lower") == [(1, 2), (2, 3), (3, 4), (1, 4)]
    assert rank_ranges([good, fair, bad], "higher") == [(3, 3), (2, 2), (1, 1)]
    assert rank_ranges([], "lower") == []
