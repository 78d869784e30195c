"""The events by which work tells how it goes: the command line, the Python interface and the tests see the
same events.

Whatever takes a while takes an ``Observer`` as its argument ``observe``, which does nothing by default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.runs.budget import Ledger
from bench.runs.grid import GridRun
from bench.runs.record import Evaluation, Record


@dataclass(frozen=True)
class Note:
    """A sentence that a person should read, such as what is being loaded or continued."""

    text: str


@dataclass(frozen=True)
class Working:
    """The progress of work that has no other result to show: ``done`` of ``total``, in any unit."""

    what: str
    done: float
    total: float
    detail: str = ""
    """A few words on how it goes, such as the latest loss."""

    @property
    def fraction(self) -> float:
        """The part that is done, from 0 to 1."""
        return self.done / self.total


@dataclass(frozen=True)
class Started:
    """A run begins to work. ``teacher`` is the record of the teacher itself under the same
    protocol, if there is one.
    """

    record: Record
    trains: bool
    teacher: Record | None


@dataclass(frozen=True)
class Training:
    """The progress of a run's training, twice a second. ``seconds_left`` goes by the speed since this
    process began.
    """

    fraction: float
    ledger: Ledger
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Logged:
    """A line of the training curve: ``values`` such as ``loss/fake`` after so many updates."""

    values: Mapping[str, float]
    updates: int


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a run is done; ``best`` is the best one so far by the first metric."""

    evaluation: Evaluation
    best: Evaluation
    samples: Path
    """The picture of the sample grid."""


@dataclass(frozen=True)
class Finished:
    """A run's record is complete. ``reused`` says that the run had been finished before."""

    record: Record
    reused: bool = False


@dataclass(frozen=True)
class GridProgress:
    """The state of the runs of a grid, a few times a second."""

    runs: Sequence[GridRun]


Event = Note | Working | Started | Training | Logged | Evaluated | Finished | GridProgress
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""
