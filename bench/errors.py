"""Errors as one sentence for the user and an exit code for scripts, and the words of such sentences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BenchError(Exception):
    """The work failed for a reason that the user can act on. Exit code 1."""

    exit_code = 1


class UsageError(BenchError):
    """The request cannot be carried out as it stands, and nothing was written. Exit code 2."""

    exit_code = 2


class Interrupted(BenchError):
    """The run was stopped and its checkpoint is saved; the same command continues it.

    Exit code 75 (EX_TEMPFAIL).
    """

    exit_code = 75


class Diverged(BenchError):
    """A training whose numbers are not finite any more."""


class Held(UsageError):
    """Another process works on this run; try again later. Exit code 75 (EX_TEMPFAIL)."""

    exit_code = 75


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name, which suggests the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {few(names, 12) or 'none'}."
    return UsageError(f"unknown {what} {name[:200]!r}; {hint}")


def few(names: Iterable[str], most: int = 3) -> str:
    """Write the first names of a list, and how many more there are: ``a, b, c and 4 more``."""
    every = list(names)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def shown(value: object) -> str:
    """Write a value from a stranger's file in a few printable characters, or name its type."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    if value is None or isinstance(value, int | float):
        return str(value)
    return ascii(value[:40])[:60] if isinstance(value, str) else f"a {type(value).__name__}"


def one_line(message: object, limit: int = 160) -> str:
    """Cut a library's message to fit into a sentence: one printable line, at most ``limit`` long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(message)[: 4 * limit]).split())
    return words.replace(". ", "; ")[:limit].rstrip(".")


def explain(error: ValidationError) -> str:
    """Say in one line which field pydantic refuses, why, and what it was: ``seed: field required``.

    A field that does not exist comes first, since a misspelt one is often why another is missing.
    """
    problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    field = ".".join(one_line(part, 60) for part in problem["loc"])
    reason = one_line(problem["msg"].removeprefix("Value error, "), 300)
    if not field:  # a rule about several fields together
        return reason
    value = "" if problem["type"] == "missing" else f", given {shown(problem['input'])}"
    return f"{field}: {reason[0].lower()}{reason[1:]}{value}"
