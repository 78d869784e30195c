"""The parts of a leaderboard: metric columns, numbers and rows, and the choice of some rows."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.ranking.convergence import Reach
from bench.ranking.published import Result
from bench.runs.record import Direction
from bench.units import ARROWS


@dataclass(frozen=True)
class MetricColumn:
    """One metric under one protocol.

    ``label`` is the protocol's id, with a mark where two protocols share an id.
    """

    metric: str
    protocol: str
    label: str
    direction: Direction

    @property
    def key(self) -> str:
        """Name of the column in data formats: ``fid_digits-5k``."""
        return f"{self.metric}_{self.label}"

    @property
    def title(self) -> str:
        """Name of the column for people: ``FID ↓ (digits-5k)``."""
        return f"{self.metric.upper()} {ARROWS[self.direction]} ({self.label})"


@dataclass(frozen=True)
class Number:
    """A mean over training seeds, and how far it can be trusted."""

    mean: float
    std: float | None
    """Standard deviation over the seeds; of a single seed, over evaluation replicates."""
    values: tuple[float, ...]
    """The number of each seed."""
    replicates: tuple[tuple[float, ...], ...] = ()
    """For each seed the numbers of its replicates."""
    interval: tuple[float, float] | None = None
    """95 % interval of the mean over seeds, with the noise of training and evaluation; of a single seed or
    a teacher, with that of evaluation alone.
    """
    seeds_needed: float | None = None
    """Seeds that would tell it from the best row with the chance ``power.POWER``, if any would."""
    against_teacher: Literal["better", "worse", "open"] | None = None
    """What the seeds can tell of it and the teacher, sampled its own way."""
    evaluation_noise: float | None = None
    """Standard deviation of one evaluation replicate."""
    training_noise: float | None = None
    """Standard deviation over seeds without what evaluation adds to it."""
    best: bool = False
    """True for the best mean of a trained method on its teacher, where there are several methods; of
    equal ones for each.
    """
    second: bool = False
    tied: bool = False
    """True if no row is better beyond chance and no seed of its own was lost; of the best it is not said."""

    @property
    def seeds(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Row:
    """One method on one teacher at one setting, measured by this suite or published by others.

    A published row has no rank and no cost.
    """

    teacher: str
    method: str
    variant: str
    """The choices that set this row apart from the other rows of its method, such as ``alpha=1.0``."""
    seeds: int
    nfe: int
    data_free: bool | None
    tuning: int | None
    """Number of runs that were tried before these settings; None of settings that were given by hand."""
    images: float
    updates: float
    flops: float
    seconds: float
    numbers: dict[MetricColumn, Number]
    rank: str = "-"
    """The ranks that the row may have among the trained methods of its teacher by the first column.

    ``2-4`` says that one row is better beyond chance, and that worse ones begin after the fourth. A row of
    a single seed has no rank, and neither has one of which a seed diverged: it has no number.
    """
    tuning_flops: float | None = None
    """Operations of those runs; None if unknown."""
    lost: int = 0
    """Training seeds that lost their way (``success.succeeded``) or whose training diverged."""
    diverged: int = 0
    """Those of them that have no numbers, because their training diverged."""
    runs: tuple[str, ...] = ()
    """Ids of the runs behind the row."""
    area: Number | None = None
    """``Curve.area`` of the first column over FLOPs, over seeds."""
    reached: dict[float, Reach] = field(default_factory=dict)
    """FLOPs until the first column is at or below multiples of the teacher's number, if known."""
    is_target: bool = False
    """True for the teacher sampled its own way, to which the others are compared."""
    weights: str = ""
    """Digest of the teacher's weights."""
    published: Result | None = None
    cite: str = ""
    """BibTeX key of the method's paper, or of the paper that has published the number."""

    @property
    def attempts(self) -> int:
        """Training seeds that were tried."""
        return self.seeds + self.diverged

    @property
    def section(self) -> tuple[str, bool]:
        """The rows that it stands with: those of its teacher, measured ones first or published ones."""
        return self.teacher, self.published is not None

    def median(self, column: MetricColumn) -> float | None:
        """Return the median over the seeds, lost ones included; None if it is one that diverged."""
        if (number := self.numbers.get(column)) is None or not number.values:
            return number.mean if number else None
        worst = math.inf if column.direction == "lower" else -math.inf
        median = statistics.median([*number.values, *[worst] * self.diverged])
        return median if math.isfinite(median) else None

    def order(self, column: MetricColumn) -> float:
        """Return the key by which a column sorts rows: the lower the better.

        It is infinite for a row without a value, and for one that lost more than half of its seeds.
        """
        if column not in self.numbers or 2 * self.lost > self.attempts:
            return math.inf
        mean = self.numbers[column].mean
        return mean if column.direction == "lower" else -mean


@dataclass(frozen=True)
class Resolution:
    """The smallest difference of the ranking column that a teacher's rows can be expected to show."""

    teacher: str
    column: MetricColumn
    """The column that its rows are ranked by."""
    seeds: int
    """Seeds of a typical row."""
    gap: float
    relative: bool
    """True if ``gap`` is a share of the number: 0.1 for a tenth."""
    evaluation_known: bool
    """True if the noise of the evaluation is in the tests."""


@dataclass(frozen=True)
class Leaderboard:
    """Columns and rows.

    Within each teacher rows are sorted by the first column, best first, and published ones follow the
    measured ones.
    """

    columns: list[MetricColumn]
    rows: list[Row]
    resolutions: tuple[Resolution, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A choice of rows; None and False leave all of them."""

    teachers: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    one_step: bool = False
    data_free: bool = False

    def takes(self, row: Row) -> bool:
        """Tell whether a row is chosen.

        A published row is found by its method's name in this suite as well as by its label.
        """
        names = {row.method, *([row.published.method] if row.published else [])}
        return (
            (self.teachers is None or row.teacher in self.teachers)
            and (self.methods is None or not names.isdisjoint(self.methods))
            and not (self.one_step and row.nfe != 1)
            and not (self.data_free and row.data_free is False)
        )
