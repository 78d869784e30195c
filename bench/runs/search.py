"""A search space of a method's settings as data, and the settings that are drawn from it.

Trial *k* of a method always draws the same settings, so that more trials repeat none.
"""

import itertools
import math
import random
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from bench.errors import UsageError, explain, shown
from bench.files.documents import parse_yaml

MOST_TRIALS = 10_000
"""Most trials of a sweep."""


class Range(BaseModel, extra="forbid"):
    """The values that a setting may have: a list of them, or all numbers from ``low`` to ``high``."""

    values: Annotated[list[Any], Field(min_length=1)] | None = None
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    times: str = ""
    """Another setting of the space, of which this one is a multiple."""
    reason: str = ""
    """Why these values: a published one lies among them, say."""
    whole: bool = False
    """Draw whole numbers alone; so it is unless said otherwise where both bounds are given as such."""

    @model_validator(mode="before")
    @classmethod
    def _whole_as_its_bounds(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping) or "whole" in fields:
            return fields
        bounds = (fields.get("low"), fields.get("high"))
        return {**fields, "whole": all(type(bound) is int for bound in bounds)}

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        bounds = (self.low, self.high)
        if (self.values is None) == (None in bounds) or (
            self.values is not None and bounds != (None, None)
        ):
            raise ValueError("expected either values, or both low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"expected low below high, given {self.low:g} and {self.high:g}")
        if self.whole and not all(b is not None and b.is_integer() for b in bounds):
            raise ValueError(f"expected whole numbers as bounds, given {self.low} and {self.high}")
        return self

    @property
    def logarithmic(self) -> bool:
        """True if numbers are drawn evenly in their logarithm, as they are where none can be zero."""
        return self.low is not None and self.low > 0

    def holds(self, value: Any) -> bool:
        """Tell whether a value lies inside."""
        if self.values is not None:
            return value in self.values
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (self.low or 0.0) <= value <= (self.high or 0.0)

    def at(self, place: float) -> Any:
        """Return the value at a place from 0 to below 1."""
        if self.values is not None:
            return self.values[int(place * len(self.values))]
        assert self.low is not None
        assert self.high is not None
        if self.logarithmic:
            value = math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + place * (self.high - self.low)
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.3g}"), self.low), self.high)  # which rounding may have left


WAYS = ("random", "grid", "optuna", "halving")
"""How settings are chosen from a space."""
Space = Mapping[str, Range]
"""The range of each setting by its name."""


def drawn(space: Space, method: str, trial: int) -> dict[str, Any]:
    """Draw the settings of one trial, each from its range alone."""
    source = random.Random(zlib.crc32(method.encode()) * MOST_TRIALS + trial)
    return multiplied(space, {name: of.at(source.random()) for name, of in space.items()})


def distinct(
    space: Space, method: str, count: int, taken: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Draw so many settings, none of them twice and none of those taken; fewer where the space has no more.

    What is drawn twice is left out, so that the first ones are the same whatever the count.
    """
    seen, found = {key_of(settings) for settings in taken}, list[dict[str, Any]]()
    for trial in range(MOST_TRIALS):
        if len(found) == count:
            break
        if (key := key_of(settings := drawn(space, method, trial))) not in seen:
            seen.add(key)
            found.append(settings)
    return found


def key_of(settings: Mapping[str, Any]) -> str:
    """Write settings so that equal ones are equal texts, 1 and 1.0 among them."""
    return repr(sorted((n, float(v) if type(v) is int else v) for n, v in settings.items()))


def combinations(space: Space) -> list[dict[str, Any]]:
    """Return every combination of the values. Raises UsageError for a range without a list of them."""
    for name, of in space.items():
        if of.values is None:
            raise UsageError(
                f"a grid needs the values of {name}, given all numbers from {of.low:g} to {of.high:g}; "
                f"list some, such as --search {name}={of.low:g},{of.high:g}."
            )
    count = math.prod(len(of.values or ()) for of in space.values())
    if count > MOST_TRIALS:
        raise UsageError(f"the grid has {count:,} combinations, expected at most {MOST_TRIALS:,}.")
    chosen = itertools.product(*(of.values or () for of in space.values()))
    return [multiplied(space, dict(zip(space, values, strict=True))) for values in chosen]


def multiplied(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with each multiple in place of its factor."""
    return {
        name: float(f"{value * settings[of]:.6g}") if (of := space[name].times) else value
        for name, value in settings.items()
    }


def require_sound(space: Space, what: str) -> None:
    """Raise UsageError for an empty space, and for a multiple of what is none of its plain settings."""
    if not space:
        raise UsageError(
            f"{what} names no setting; give some, such as --search lr=1e-4..1e-2 --search alpha=1.0,1.2."
        )
    for name, of in space.items():
        if of.times and (of.times not in space or space[of.times].times):
            raise UsageError(
                f"{what} makes {name} a multiple of {of.times!r}, expected another setting of the space."
            )


def parse_range(text: str) -> tuple[str, Range]:
    """Read ``alpha=1.0,1.2`` or ``lr=1e-4..1e-2`` as a setting and its range. Bounds without a point and an
    exponent, as in ``batch=32..512``, mean whole numbers. Raises UsageError for what is neither.
    """
    name, equals, spec = text.partition("=")
    low, dots, high = spec.partition("..")
    values = spec.split(",")
    try:
        if not (name.strip() and equals and all(value.strip() for value in values)):
            raise ValueError(text)
        if dots:
            return name.strip(), Range(low=_number(low), high=_number(high))
        return name.strip(), Range(values=[parse_yaml(value) for value in values])
    except ValidationError as error:
        raise UsageError(f"--search {shown(text)} is no range: {explain(error)}.") from None
    except ValueError:
        raise UsageError(
            f"--search {shown(text)} is neither a list of values nor a range of numbers; expected such as "
            "--search alpha=1.0,1.2 or --search lr=1e-4..1e-2."
        ) from None


def _number(text: str) -> float:
    """Read a number, as an int where it is written as one."""
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) else float(text)
