"""A column of a table: a name, a title, and a text and values of every row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.ranking.rows import Number, Row

NONE = "-"
"""Stands in a table where a row has no value."""


@dataclass(frozen=True)
class TableColumn:
    """One column of a table."""

    name: str
    """The name by which a person asks for the column."""
    title: str
    text: Callable[[Row], str]
    """Return what the column shows of a row to people."""
    values: Callable[[Row], dict[str, Any]]
    """Return what it gives to programs, by key."""
    order: Callable[[Row], Any]
    """Return the key by which rows are sorted, best first."""
    words: bool = False
    """True if it holds words, which are set to the left and may be folded."""
    number: Callable[[Row], Number | None] = lambda row: None
    """Return the number that may be best, second or tied."""
    note: str = ""
    """A footnote that explains the column."""
    usual: bool = True
    """True if a table has it unless other columns are asked for."""


def yes_or_no(value: bool | None) -> str:
    """Write a fact, or ``NONE`` where it is not known."""
    return {True: "yes", False: "no", None: NONE}[value]


def at_end(value: Any) -> tuple[bool, float]:
    """Return a key by which rows without a value come last."""
    return (value is None or value == "", float(value or 0))
