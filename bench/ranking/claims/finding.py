"""A claim, the criterion by which it is judged, and what the runs say of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["supported", "contradicted", "open"]
Known = Literal["better", "worse", "open"]
"""What a comparison of several rows at once knows of one and another."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, and what would support or contradict it, stated before it is measured."""

    name: str
    title: str
    says: str
    """The paper's words or what it reports."""
    place: str
    """Where in the paper, or by whom it is quoted."""
    criterion: str


@dataclass(frozen=True)
class Finding:
    """What the runs of one teacher say of a claim."""

    claim: Claim
    verdict: Verdict
    reason: str
    """Why, in a sentence or a few; of an open one what is missing."""
    measurements: Sequence[Any] = ()
    """Rows of one kind, dataclasses, that the reason speaks of; those of the paper's method first."""
    notes: Sequence[str] = ()
    """Sentences on how to read the measurements."""


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does: ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
