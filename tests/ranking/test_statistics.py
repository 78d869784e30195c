"""Moments against the standard library's."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.ranking.statistics import interval_of_mean, mean_and_variance


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_moments_are_those_of_statistics(values):
    mean, variance = mean_and_variance(values)
    assert mean == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-9)
    assert variance == pytest.approx(statistics.variance(values), rel=1e-9, abs=1e-9)


def test_equal_values_have_no_variance_at_all():
    assert mean_and_variance([0.1] * 3) == (0.1, 0.0)


def test_the_interval_of_a_mean_is_students():
    values = [1.0, 1.5, 1.2, 0.7]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval_of_mean(values) == pytest.approx((expected.low, expected.high))
    assert interval_of_mean([1.0]) is None and interval_of_mean([2.0, 2.0]) == (2.0, 2.0)
