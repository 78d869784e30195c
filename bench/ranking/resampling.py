"""How stable the places of a table are: what they would have been with other seeds."""

from collections.abc import Sequence

import numpy as np

from bench.runs.record import Direction

DRAWS = 2000


def places(
    rows: Sequence[Sequence[float]], direction: Direction, *, draws: int = DRAWS
) -> list[tuple[int, int]]:
    """Return the places between which each row lies in nine of ten tables of seeds that are drawn anew.

    Each table has as many seeds of every row as there are, drawn from these with replacement (Efron's
    bootstrap), and orders the rows by their means; 1 is the best. Few seeds scatter less when drawn from
    themselves than new ones would: the places are stable at most as far as this says.

    Args:
        rows: the number of each seed, at least one a row.
    """
    random = np.random.default_rng(0)
    sign = 1 if direction == "lower" else -1
    means = np.empty((draws, len(rows)))
    for i, values in enumerate(rows):
        drawn = random.integers(len(values), size=(draws, len(values)))
        means[:, i] = sign * np.asarray(values)[drawn].mean(axis=1)
    order = np.lexsort((random.random(means.shape), means), axis=1).argsort(axis=1) + 1  # ties by lot
    low, high = np.quantile(order, [0.05, 0.95], axis=0, method="nearest")
    return [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
