"""Moments of numbers, and where their noise comes from."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

LEVEL = 0.05
"""A difference that chance alone exceeds less often than this counts as one."""


def mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the unbiased variance, which is 0 for equal values and for a single one.

    Both are computed from exact sums.
    """
    if min(values) == max(values):
        return float(values[0]), 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95 % interval of a mean; None of fewer than two values."""
    if len(values) < 2:
        return None
    mean, variance = mean_and_variance(values)
    half = float(special.stdtrit(len(values) - 1, 1 - LEVEL / 2)) * math.sqrt(variance / len(values))
    return mean - half, mean + half


def variance_components(replicates: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """Split the variance of a row's numbers by the moments of a two-way layout.

    Returns two standard deviations: the noise of one replicate, which is one set of generated images of
    the same network; and the scatter of a network's true number over training seeds. Each is None where
    the data cannot tell.

    All networks are measured on the same replicates, so that part of the noise is common to the seeds and
    does not make them scatter. What does is the rest, of seed and replicate together, and that is taken off
    the variance of the seeds' means; an estimate below zero becomes zero. After Searle, Casella and
    McCulloch, Variance Components (1992), chapter 4.

    Args:
        replicates: for each seed the numbers of its replicates, in the same order.
    """
    seeds, common = len(replicates), min(len(seed) for seed in replicates)
    if common < 2:
        return None, None
    within = math.fsum(mean_and_variance(seed)[1] for seed in replicates) / seeds
    if seeds < 2:
        return math.sqrt(within), None
    layout = np.array([seed[:common] for seed in replicates])
    rest = layout - layout.mean(axis=0) - layout.mean(axis=1, keepdims=True) + layout.mean()
    apart = float((rest**2).sum()) / ((seeds - 1) * (common - 1))
    of_means = mean_and_variance([math.fsum(seed) / len(seed) for seed in replicates])[1]
    return math.sqrt(within), math.sqrt(max(0.0, of_means - apart / common))
