"""What a comparison can find: the smallest difference, and the seeds that a difference takes."""

import math
from typing import Any

import numpy as np
from scipy import special

from bench.ranking.shrinkage import Variance, together

POWER = 0.8
"""Chance to find a difference that is promised."""
MOST_SEEDS = 1000
"""Most seeds that are named."""


def smallest_gap(parts: list[Variance], among: Any, level: float) -> float | None:
    """Return the gap between two rows of median variance that is found with the chance ``POWER``.

    Args:
        parts: variances of the rows' means (rows,).
        among: (rows,), true for those that the median is over.
        level: at which one pair is tested.
    """
    if among.sum() < 2:
        return None
    every = together(parts)
    variance, degrees = np.median(every.of_mean[among]), np.median(every.degrees[among])
    return float(_standard_errors(2 * degrees, level) * np.sqrt(2 * variance))


def seeds_needed(
    centres: Any, training: Variance, evaluation: Variance, seeds: Any, best: int, level: float
) -> list[float | None]:
    """Return for each row the seeds that it and the best one would need for their difference to be found
    with the chance ``POWER``; None for the best, and infinity where ``MOST_SEEDS`` are too few.

    The difference that was observed is taken for the true one.
    """

    def enough(count: Any) -> Any:
        own, bests = count / seeds, count / seeds[best]
        variance = together(
            [
                Variance(training.of_mean / own, training.degrees * own),
                Variance(training.of_mean[best] / bests, training.degrees[best] * bests),
                evaluation,
                Variance(evaluation.of_mean[best], evaluation.degrees[best]),
            ]
        )
        needed = _standard_errors(variance.degrees, level) * np.sqrt(variance.of_mean)
        return abs(centres - centres[best]) >= needed

    low, high = np.full(len(seeds), 2), np.full(len(seeds), MOST_SEEDS)
    while (low < high).any():  # bisection: more seeds find more
        middle = (low + high) // 2
        found = enough(middle)
        high = np.where(found, middle, high)
        low = np.minimum(np.where(found, low, middle + 1), high)
    told = enough(high)
    return [None if i == best else int(n) if told[i] else math.inf for i, n in enumerate(high)]


def _standard_errors(degrees: Any, level: float) -> Any:
    """Return how many standard errors a difference must have to be found with the chance ``POWER``."""
    return special.stdtrit(degrees, 1 - level / 2) + special.stdtrit(degrees, POWER)
