"""Matched compute: the budget of a run on one axis, and the ledger of its costs on all axes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, Field

from bench.errors import UsageError, unknown
from bench.units import SUFFIXES, parse_quantity

AXES = {
    "images": "images generated for the generator's updates, the papers' x-axis",
    "updates": "generator updates",
    "flops": "floating-point operations of training, a multiply-add counting 2, one-off costs included",
    "seconds": "training time without evaluation and start-up, one-off costs included",
}
"""The axes that a budget can limit, each with how it is counted."""
_FIRST_POINT = 1 / 64
"""The first evaluation after the one at zero, as a fraction of the budget."""


@dataclass(frozen=True)
class Budget:
    """An amount of compute on one axis."""

    axis: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``images=200k``, ``updates=10k``, ``flops=3e15`` or ``seconds=600``.

        Raises UsageError for anything else.
        """
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
        """Return at most ``count`` amounts at which to evaluate: zero, then log-spaced ones.

        The last one is the whole budget. Images and updates are rounded up to whole numbers, of which
        equal ones are one point.
        """
        if count < 2:
            return [self.amount]
        spaced = [self.amount * _FIRST_POINT ** (1 - i / max(count - 2, 1)) for i in range(count - 2)]
        spaced.append(self.amount)
        if self.axis in ("images", "updates"):
            spaced = [float(math.ceil(point - 1e-9)) for point in spaced]
        return [0.0, *sorted(set(spaced))]


Count = Annotated[int, Field(ge=0, strict=True)]
"""A count in a record, which is neither a truth value nor a text."""
Amount = Annotated[float, Field(ge=0, strict=True)]
"""A measured amount in a record, such as a time."""


@dataclass(frozen=True)
class UpdateCost:
    """The cost of one update of one kind.

    ``evaluations`` gives for each role of a network the images passed forward and backward through it.
    """

    flops: int
    evaluations: Mapping[str, tuple[int, int]]

    def times(self, processes: int) -> Self:
        """Return the cost of as many processes that do equal shares of an update."""
        evaluations = {r: (f * processes, b * processes) for r, (f, b) in self.evaluations.items()}
        return type(self)(self.flops * processes, evaluations)


class Passes(BaseModel, extra="allow"):
    """Images that the network of one role has passed forward and backward."""

    forward: Count = 0
    backward: Count = 0


class OneOff(BaseModel, extra="allow"):
    """Costs paid once before training, such as those of the teacher's pairs."""

    flops: Count = 0
    seconds: Amount = 0.0


class Ledger(BaseModel, extra="allow"):
    """The costs of a run up to now, the ``cost`` of its record.

    ``flops`` and ``seconds`` include the one-off costs. Training adds to them in its inner loop, so that
    assignments are not validated.
    """

    images: Count = 0
    updates: Count = 0
    flops: Count = 0
    seconds: Amount = 0.0
    evaluations: dict[str, Passes] = {}
    """By role of the network, such as generator or teacher."""
    one_off: OneOff = Field(default_factory=OneOff)
    peak_memory_bytes: Count = 0

    def charge(self, cost: UpdateCost) -> None:
        """Add the cost of one update."""
        self.flops += cost.flops
        for role, (forward, backward) in cost.evaluations.items():
            passes = self.evaluations.setdefault(role, Passes())
            passes.forward += forward
            passes.backward += backward

    def charge_one_off(self, flops: int, seconds: float) -> None:
        """Add a cost that is paid once before training, and that the budget has to bear."""
        self.one_off.flops += flops
        self.one_off.seconds += seconds
        self.flops += flops
        self.seconds += seconds

    def spent(self, axis: str) -> float:
        """Return the amount spent on one of ``AXES``."""
        return float(getattr(self, axis))
