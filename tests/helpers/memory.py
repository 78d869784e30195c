"""How much memory Python takes meanwhile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_below(most: float) -> Iterator[None]:
    """Fail if Python has ever taken more than ``most`` bytes; memory that libraries take by
    themselves is not seen.
    """
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak:,} bytes, expected less than {most:,.0f}"
