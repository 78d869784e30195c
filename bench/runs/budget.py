"""The compute ledger: what a run may spend, on which axis, and what it has spent on all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from bench.errors import UsageError, unknown
from bench.units import SUFFIXES, parse_quantity

AXES = {
    "images": "images generated for the generator's updates, the papers' x-axis",
    "updates": "generator updates",
    "flops": "floating-point operations of training, a multiply-add counting 2, one-off costs included",
    "seconds": "training time without evaluation and start-up, one-off costs included",
}
_FIRST_POINT = 1 / 64
"""Where evaluation starts, as a fraction of the budget, after the one at zero."""


@dataclass(frozen=True)
class Budget:
    """An amount of compute on one axis."""

    axis: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """``images=200k``, ``updates=10k``, ``flops=3e15`` or ``seconds=600``. Raises UsageError for anything else."""
        axis, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"the budget {text!r} is not of the form AXIS=AMOUNT, such as images=200k.")
        if axis not in AXES:
            raise unknown("budget axis", axis, AXES)
        try:
            amount = parse_quantity(value)
        except ValueError:
            amount = math.nan
        if not 0 < amount < math.inf:
            raise UsageError(
                f"the budget {text!r} has the amount {value!r}; expected a number above zero, "
                f"with {', '.join(SUFFIXES)} behind it if you like."
            )
        return cls(axis, amount)

    def __str__(self) -> str:
        return f"{self.axis}={self.amount:.15g}"

    def points(self, count: int) -> list[float]:
        """``count`` evaluation points: zero, then logarithmically spaced ones of which the last is the whole budget."""
        if count < 2:
            return [self.amount]
        spaced = [self.amount * _FIRST_POINT ** (1 - i / max(count - 2, 1)) for i in range(count - 2)] + [self.amount]
        whole = {math.ceil(p - 1e-9) for p in spaced} if self.axis in ("images", "updates") else set(spaced)
        return [0.0, *sorted(float(p) for p in whole)]


@dataclass(frozen=True)
class UpdateCost:
    """What one update of one kind costs: operations, and per role the images it passes forward and backward."""

    flops: int
    evaluations: Mapping[str, tuple[int, int]]


@dataclass
class Ledger:
    """What a run has spent. ``flops`` and ``seconds`` include the one-off costs, such as the teacher's pairs."""

    images: int = 0
    updates: int = 0
    flops: int = 0
    seconds: float = 0.0
    evaluations: dict[str, dict[str, int]] = field(default_factory=dict)
    one_off: dict[str, float] = field(default_factory=lambda: {"flops": 0, "seconds": 0.0})
    peak_memory_bytes: int = 0

    def charge(self, cost: UpdateCost) -> None:
        """Add one update."""
        self.flops += cost.flops
        for role, (forward, backward) in cost.evaluations.items():
            entry = self.evaluations.setdefault(role, {"forward": 0, "backward": 0})
            entry["forward"] += forward
            entry["backward"] += backward

    def charge_one_off(self, flops: int, seconds: float) -> None:
        """Add a cost paid once before training, which the budget of the method that needs it bears."""
        self.one_off["flops"] += flops
        self.one_off["seconds"] += seconds
        self.flops += flops
        self.seconds += seconds

    def spent(self, axis: str) -> float:
        """The amount spent on one axis."""
        return float(getattr(self, axis))

    def as_dict(self) -> dict[str, Any]:
        """The ``cost`` of a record."""
        return asdict(self)
