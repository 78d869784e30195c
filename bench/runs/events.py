"""What a run tells those who watch it: the command line, the Python interface and the tests see the same events."""

from __future__ import annotations

from dataclasses import dataclass

from bench.runs.budget import Ledger
from bench.runs.record import Evaluation, Record
from bench.runs.store import RunFolder


@dataclass(frozen=True)
class Note:
    """Something worth a line: what is being prepared, or continued."""

    text: str


@dataclass(frozen=True)
class Preparing:
    """How far something that comes before training is, such as the teacher's pairs."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Progress:
    """How far training is, twice a second. ``seconds_left`` goes by the speed since this process began."""

    fraction: float
    ledger: Ledger
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Evaluated:
    """One evaluation is done; ``best`` is the best one so far by the first metric."""

    evaluation: Evaluation
    best: Evaluation


@dataclass(frozen=True)
class Finished:
    """The record is complete. ``reused`` says that the run had been finished before."""

    record: Record
    folder: RunFolder
    reused: bool = False


Event = Note | Preparing | Progress | Evaluated | Finished
