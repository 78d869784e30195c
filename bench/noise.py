"""Two noises kept apart: of measuring one network again on other images, and of training it again from another seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.significance import moments


@dataclass(frozen=True)
class Noise:
    """Standard deviations; None where there is nothing to tell them from."""

    evaluation: float | None
    """Of one replicate, that is of one set of generated images of the same network."""
    training: float | None
    """Of a network's true value over training seeds: what is left of the scatter of the seeds' numbers once that is taken out."""


def noise(values: Sequence[float], stds: Sequence[float | None], replicates: Sequence[int]) -> Noise:
    """Both noises, by the moments of the one-way random-effects model (Searle, Casella and McCulloch, 1992, chapter 3).

    One of each for every seed: its number, which is the mean over its replicates; their standard deviation; how many they are.
    The variance of the numbers is that of training plus that of a mean over replicates; an estimate below zero is zero.
    """
    spread = [(std, count - 1) for std, count in zip(stds, replicates, strict=True) if std is not None and count > 1]
    if not spread:
        return Noise(None, None)
    within = math.fsum(std**2 * degrees for std, degrees in spread) / sum(degrees for _, degrees in spread)
    if len(values) < 2:
        return Noise(math.sqrt(within), None)
    of_means = math.fsum(within / count for count in replicates) / len(replicates)
    return Noise(math.sqrt(within), math.sqrt(max(0.0, moments(values)[1] - of_means)))
