"""Which training seeds of a method lost their way."""

from collections.abc import Iterable, Sequence

from bench.runs.record import Direction, Record

LOST = 2.0
"""A seed is lost whose number is so many times worse than that of the best seed of its row."""


_DIVERGED = ("training diverged", "the generator returns NaN")
"""How the errors of a training begin whose numbers are not finite any more."""


def succeeded(values: Sequence[float], direction: Direction) -> list[bool]:
    """Tell for each seed of a row whether it succeeded: its number is within ``LOST`` times the best.

    The best seed shows what the recipe can do, whatever the other methods do. Numbers that are not all
    above zero have no ratio, and every one of their seeds counts as a success.
    """
    if not values or min(values) <= 0:
        return [True] * len(values)
    if direction == "lower":
        return [value <= LOST * min(values) for value in values]
    return [value * LOST >= max(values) for value in values]


def diverged(records: Iterable[Record], seeds: Iterable[int]) -> set[int]:
    """Return the seeds of a row whose run ended because training diverged, and which no run finished."""
    failed = {r.seed for r in records if r.status == "failed" and (r.error or "").startswith(_DIVERGED)}
    return failed - set(seeds)
