"""Numbers as people read and write them: 200k, 2.1P, 3.2 h."""

import math
import re

SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18, "Z": 10**21}
"""The factor of each letter behind a number."""
ARROWS = {"lower": "↓", "higher": "↑"}
"""The sign of the direction in which a metric is better."""


def parse_quantity(text: str) -> float:
    """Read a number with an optional suffix: ``4.1M`` is 4100000, and ``3e15`` is itself.

    Raises ValueError for anything else, a sign, an infinity and NaN among it.
    """
    match = re.fullmatch(rf"([0-9.]+(?:[eE][+-]?[0-9]+)?)([{''.join(SUFFIXES)}]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a number with a suffix")
    amount = float(match[1]) * SUFFIXES.get(match[2], 1)
    return float(f"{amount:.15g}")  # 4.1M is 4100000, whatever the product's last bit


def quantity(value: float) -> str:
    """Write a count in three digits with its suffix: 512000 is ``512k``, 2.1e15 is ``2.1P``."""
    for suffix, size in reversed(SUFFIXES.items()):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def compact(count: int) -> str:
    """Write a count in the shortest exact form: 5000 is ``5k``, 1797 stays ``1797``."""
    for suffix, size in reversed(SUFFIXES.items()):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)


def duration(seconds: float) -> str:
    """Write seconds as ``48 s``, ``12 min``, ``3.2 h`` or ``12 days``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds >= 172_800:
        return f"{seconds / 86_400:,.0f} days"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plus_minus(mean: float, std: float | None) -> str:
    """Write a mean with its standard deviation, if any: ``1.42 ± 0.05``.

    Small ones have three significant digits of the larger of the two, four decimals at the least and
    nine at the most.
    """
    largest = max(abs(mean), std or 0.0)
    digits = 2
    if abs(mean) < 0.1:
        digits = 4 if largest == 0 else min(max(4, 2 - math.floor(math.log10(largest))), 9)
    if round(mean, digits) == 0:
        mean = 0.0  # without a sign
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")


def clock(seconds: float) -> str:
    """Write seconds as ``0:48``, ``12:05`` or ``3:12:00``."""
    hours, rest = divmod(round(seconds), 3600)
    return (f"{hours}:{rest // 60:02d}" if hours else f"{rest // 60}") + f":{rest % 60:02d}"


def short_budget(budget: str) -> str:
    """Write a budget with its amount in three digits: ``flops=2000000000000`` is ``flops=2T``."""
    axis, _, amount = budget.partition("=")
    return f"{axis}={quantity(float(amount))}"
