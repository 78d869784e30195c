"""The parts of a leaderboard: columns, numbers and rows, and which rows are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.leaderboard.convergence import Reach
from bench.leaderboard.published import Result
from bench.leaderboard.statistics import interval

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Column:
    """One metric under one protocol. ``label`` is the protocol's id, marked where two protocols share it."""

    metric: str
    protocol: str
    label: str
    direction: str

    @property
    def key(self) -> str:
        """Name of the column in data formats: ``fid_digits-5k``."""
        return f"{self.metric}_{self.label}"


@dataclass(frozen=True)
class Number:
    """A mean over ``seeds`` and its standard deviation: over the seeds, or over evaluation replicates if there is one."""

    mean: float
    std: float | None
    values: tuple[float, ...]
    """Of the seeds."""
    evaluation_noise: float | None = None
    """Standard deviation of one evaluation replicate."""
    training_noise: float | None = None
    """Standard deviation over seeds without what evaluation adds to it."""
    best: bool = False
    """The best mean among the trained of its teacher, where there are several."""
    second: bool = False
    tied: bool = False
    """Not told from the best one by Welch's test at 5 %, of two seeds or more each."""

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.values)

    @property
    def interval(self) -> float | None:
        """Half the width of the 95 % confidence interval of the mean over seeds."""
        return interval(self.values)


@dataclass(frozen=True)
class Row:
    """One method on one teacher at one setting, measured here; or ``published`` elsewhere, and then without rank and cost."""

    teacher: str
    method: str
    variant: str
    """What sets this row apart from the method's other rows, such as ``alpha=1.0``."""
    seeds: int
    nfe: int
    data_free: bool | None
    tuning: int | None
    """Runs that were tried before these settings, if that is known; of settings given by hand it is not."""
    images: float
    updates: float
    flops: float
    seconds: float
    numbers: dict[Column, Number]
    rank: str = "-"
    """The ranks that it may have among the trained ones of its teacher by the first column, as far as Welch's test at 5 % can
    tell: ``2-4`` if one is better and the worse ones begin after the fourth. One seed alone has no rank."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that it is made of."""
    area: Number | None = None
    """``Curve.area`` of the first column over FLOPs, over seeds."""
    reached: tuple[tuple[float, Reach], ...] = ()
    """FLOPs until the first column is at or below so many times the teacher's own number, where that is in the records."""
    published: Result | None = None
    cite: str = ""
    """BibTeX key of the method's paper, or of the paper that the published number is from."""


@dataclass(frozen=True)
class Leaderboard:
    """Columns and rows, best first within each teacher by the first column, and the published ones after the measured."""

    columns: list[Column]
    rows: list[Row]


@dataclass(frozen=True)
class Choice:
    """Which rows are wanted; None and False leave all."""

    teachers: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    one_step: bool = False
    data_free: bool = False

    def takes(self, row: Row) -> bool:
        """Whether a row is wanted; a published one is found by its method's name in this suite as well as by its label."""
        names = {row.method, *([row.published.method] if row.published else [])}
        return (
            (self.teachers is None or row.teacher in self.teachers)
            and (self.methods is None or not names.isdisjoint(self.methods))
            and not (self.one_step and row.nfe != 1)
            and not (self.data_free and row.data_free is False)
        )
