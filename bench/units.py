"""Numbers as people read them."""

from __future__ import annotations

ARROWS = {"lower": "↓", "higher": "↑"}
"""The sign of the direction in which a metric is better."""


def quantity(value: float) -> str:
    """A count in three digits with its suffix: 512000 is ``512k``, 2.1e15 is ``2.1P``."""
    for size, suffix in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as ``48 s``, ``12 min``, ``3.2 h`` or ``12 days``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds >= 172_800:
        return f"{seconds / 86_400:,.0f} days"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plus_minus(mean: float, std: float | None) -> str:
    """A mean with its standard deviation where there is one: ``1.42 ± 0.05``; small means get four decimals."""
    digits = 2 if abs(mean) >= 0.1 else 4
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")


def clock(seconds: float) -> str:
    """Seconds as ``0:48``, ``12:05`` or ``3:12:00``."""
    hours, rest = divmod(round(seconds), 3600)
    return (f"{hours}:{rest // 60:02d}" if hours else f"{rest // 60}") + f":{rest % 60:02d}"


def short_budget(budget: str) -> str:
    """A budget with its amount in three digits: ``flops=2000000000000`` is ``flops=2T``."""
    axis, _, amount = budget.partition("=")
    return f"{axis}={quantity(float(amount))}"


def compact(count: int) -> str:
    """A count in the shortest exact form: 5000 is ``5k``, 1797 stays ``1797``."""
    for size, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)
