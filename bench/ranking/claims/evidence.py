"""The runs of one teacher as evidence: rows that one comparison holds apart, each with its runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.ranking.claims.finding import Known
from bench.ranking.comparison import Comparison, Ratio
from bench.ranking.finals import final_numbers
from bench.ranking.leaderboard import leaderboard
from bench.ranking.ranks import comparison_of
from bench.ranking.rows import MetricColumn, Number, Row
from bench.ranking.variants import group_of
from bench.runs.budget import Budget
from bench.runs.record import Record
from bench.units import short_budget

SUBJECT = "sid"
"""The method whose paper is put to the test."""
METRIC = "fid"


@dataclass(frozen=True)
class Entry:
    """One row of a teacher's table, and its runs, one a seed."""

    row: Row
    number: Number
    runs: tuple[Record, ...]

    @property
    def name(self) -> str:
        """Name the row by its method, and by what sets it apart from others of the method."""
        return self.row.method + (f" ({self.row.variant})" if self.row.variant else "")

    @property
    def budget(self) -> str | None:
        return self.runs[0].recipe.budget

    @property
    def kept(self) -> str:
        """How many of its seeds did not get lost: ``4/5``."""
        return f"{self.row.attempts - self.row.lost}/{self.row.attempts}"


@dataclass(frozen=True)
class Evidence:
    """All finished rows of one teacher that have a number in one column, compared with each other."""

    teacher: str
    column: MetricColumn | None
    """None where no run has measured the metric."""
    entries: tuple[Entry, ...]
    comparison: Comparison | None

    @classmethod
    def of(cls, records: Sequence[Record], teacher: str) -> "Evidence":
        """Collect what the records say of a teacher, by the protocol of most of its runs."""
        own = [record for record in records if record.teacher == teacher]
        board = leaderboard(own, metrics=[METRIC])
        if not board.columns:
            return cls(teacher, None, (), None)
        column = board.columns[0]
        rows = [row for row in board.rows if column in row.numbers]
        measured: dict[str, dict[int, Record]] = {}
        for final in final_numbers(own):
            if final.key == (column.metric, column.protocol):
                measured.setdefault(final.group, {})[final.record.seed] = final.record
        group = {record.run_id: group_of(record) for record in own}
        entries = [
            Entry(row, row.numbers[column], tuple(measured[group[row.runs[0]]].values())) for row in rows
        ]
        return cls(teacher, column, tuple(entries), comparison_of(rows, column))

    @cached_property
    def subject(self) -> int | None:
        """The row of the paper's method by its usual recipe; None if there is none."""
        return self._usual(SUBJECT, [i for i, e in enumerate(self.entries) if e.row.updates])

    @cached_property
    def target(self) -> int | None:
        """The row of the teacher, sampled its own way, with the weights that the subject distils."""
        weights = None if self.subject is None else self.entries[self.subject].row.weights
        rows = (i for i, e in enumerate(self.entries) if e.row.is_target)
        return next((i for i in rows if weights in (None, self.entries[i].row.weights)), None)

    @cached_property
    def matched(self) -> tuple[int, ...]:
        """The subject's row, and of every other method its usual row at the same budget, best first."""
        if self.subject is None:
            return ()
        budget = self.entries[self.subject].budget
        same = [i for i, e in enumerate(self.entries) if e.row.updates and e.budget == budget]
        methods = dict.fromkeys(self.entries[i].row.method for i in same)
        others = [self._usual(method, same) for method in methods if method != SUBJECT]
        return (self.subject, *(i for i in others if i is not None))

    @property
    def unmatched(self) -> list[str]:
        """Methods that were trained, but at no budget that the subject's row has."""
        there = {self.entries[i].row.method for i in self.matched}
        return sorted({e.row.method for e in self.entries if e.row.updates} - there)

    def ratio(self, row: int | None, other: int | None) -> Ratio | None:
        """Return how many times the number of a row is that of another one, if both are there and known."""
        if self.comparison is None or row is None or other is None or row == other:
            return None
        return self.comparison.ratio(row, other)

    def against(self, row: int | None, other: int | None) -> Known | None:
        """Return what is known of a row and another one, all rows compared at once, if both are there."""
        if self.comparison is None or row is None or other is None or row == other:
            return None
        return self.comparison.against(row, other)

    def _usual(self, method: str, among: Sequence[int]) -> int | None:
        """Return the row of a method with the fewest settings given by hand, and of such of most seeds."""

        def order(i: int) -> tuple[int, int, float]:
            entry = self.entries[i]
            given = list(entry.runs[0].sources.values()).count("given")
            return given, -entry.row.seeds, -entry.row.flops

        return min((i for i in among if self.entries[i].row.method == method), key=order, default=None)

    @property
    def no_subject(self) -> str:
        """Write that the paper's method has no row, and how to come by one."""
        return f"no finished run of {SUBJECT}: `{self.command([SUBJECT])}`."

    def command(self, methods: Sequence[str], *settings: str) -> str:
        """Write the command that makes rows of methods beside the subject's: its budget and seeds."""
        own = None if self.subject is None else self.entries[self.subject]
        seeds = ",".join(str(run.seed) for run in own.runs) if own and own.row.seeds > 1 else "5"
        given = "".join(f" --set {setting}" for setting in settings)
        budget = f" --budget {_short(own.budget)}" if own and own.budget else ""
        grid = f"--methods {','.join(methods)} --teacher {self.teacher}"
        return f"bench compare {grid}{budget} --seeds {seeds}{given}{_measured(own)}"


def _measured(own: "Entry | None") -> str:
    """Write the flags by which the runs of a row were measured, where they had any."""
    asked = own.runs[0].request if own else {}
    flags = ("eval", "eval_samples", "eval_repeats")
    return "".join(
        f" --{name.replace('_', '-')} {','.join(value) if isinstance(value, list) else value}"
        for name in flags
        if (value := asked.get(name)) is not None
    )


def _short(budget: str) -> str:
    """Write a budget with a suffix where that says the same."""
    short = short_budget(budget)
    return short if Budget.parse(short) == Budget.parse(budget) else budget
