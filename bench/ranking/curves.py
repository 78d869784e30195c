"""From records to the curves of a figure: runs that differ only in their seed are one line.

Lines are compared within one teacher, one metric and one protocol.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.ranking.finals import final_numbers
from bench.ranking.leaderboard import leaderboard
from bench.ranking.rows import MetricColumn
from bench.ranking.variants import group_of, one_of_each_seed, variants
from bench.runs.budget import AXES
from bench.runs.record import Evaluation, Record
from bench.runs.store import own_way


@dataclass(frozen=True)
class Point:
    """One place on a line: the cost and the metric's value of each seed."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """One method at one setting: a run of each seed."""

    method: str
    words: tuple[str, ...]
    """The choices that were made by hand, such as ``alpha=1.0``."""
    runs: tuple[Record, ...]

    @property
    def nfe(self) -> int:
        """Evaluations of the network for an image, by the finished generator."""
        return self.runs[0].evaluations[-1].nfe

    def curve(self, axis: str, metric: str) -> list[Point]:
        """Return the points after zero at which every seed was measured with its final NFE.

        Seeds are matched by their updates; where a budget of seconds gave each its own number of them,
        they are matched from the end backwards.
        """
        seeds = [_measured(run, axis, metric) for run in self.runs]
        if len({points[-1].updates for points in seeds if points}) > 1:
            matched = list(zip(*(reversed(points) for points in seeds), strict=False))[::-1]
        else:
            by_updates = [{e.updates: e for e in points} for points in seeds]
            shared = sorted(set.intersection(*(set(points) for points in by_updates)))
            matched = [tuple(points[updates] for points in by_updates) for updates in shared]
        return [
            Point(
                tuple(float(getattr(e, axis)) for e in same),
                tuple(e.metrics[metric].value for e in same),
            )
            for same in matched
        ]

    def final(self, metric: str) -> tuple[float, ...]:
        return tuple(run.final[metric] for run in self.runs)

    @property
    def left_out(self) -> list[int]:
        """NFE of the evaluations that no curve shows.

        A generator on its way to fewer steps is not yet what is compared.
        """
        return sorted({e.nfe for run in self.runs for e in run.evaluations} - {self.nfe}, reverse=True)


@dataclass(frozen=True)
class Comparison:
    """Lines that may be compared: of one teacher, one metric and one protocol."""

    teacher: str
    column: MetricColumn
    lines: list[Line]
    """The trained methods."""
    teachers: list[Line]
    """The teacher itself, by every sampler that was measured."""

    @property
    def references(self) -> list[Line]:
        """The teacher by its own sampler, with the very weights that the lines distil."""
        distilled = {_weights(run) for line in self.lines for run in line.runs}
        return [
            line
            for line in self.teachers
            if own_way(line.runs[0].recipe.settings) and _weights(line.runs[0]) in distilled
        ]

    @property
    def shared(self) -> tuple[str, ...]:
        """The words that all lines have, and that therefore tell none from another."""
        first = self.lines[0].words if self.lines else ()
        return tuple(word for word in first if all(word in line.words for line in self.lines))

    @property
    def title(self) -> str:
        """The teacher, and the choices that all lines share."""
        return self.teacher + (f" ({', '.join(self.shared)})" if self.shared else "")

    def name(self, line: Line) -> str:
        """Return the method of a line, and what sets the line apart."""
        apart = [word for word in line.words if word not in self.shared]
        return line.method + (f" ({', '.join(apart)})" if apart else "")


def matched_axis(records: Iterable[Record]) -> str:
    """Return the axis on which most of the trained runs were given their budget, where their ends line up.

    It is ``images``, the papers' axis, where nothing was trained.
    """
    axes = Counter((record.recipe.budget or "").partition("=")[0] for record in records)
    return max(AXES, key=lambda axis: axes[axis])


def comparisons(records: Sequence[Record], metric: str, protocol: str | None = None) -> list[Comparison]:
    """Sort the finished runs that measured a metric by teacher and protocol.

    The usual protocol of a teacher comes first.
    """
    records = [record for record in records if record.status == "done"]
    finals = [final for final in final_numbers(records) if final.metric == metric]
    columns = leaderboard(records, metrics=[metric]).columns
    if protocol is not None:
        columns = [c for c in columns if protocol in (c.label, c.label.partition("@")[0])]
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(group_of(record), []).append(record)
    words = variants(groups)
    compared = []
    for name in sorted({final.record.teacher for final in finals}):
        for column in columns:
            key = (column.metric, column.protocol)
            ids = {f.record.run_id for f in finals if f.record.teacher == name and f.key == key}
            measured = {group: [r for r in runs if r.run_id in ids] for group, runs in groups.items()}
            lines = _lines({group: runs for group, runs in measured.items() if runs}, words)
            trained = [line for line in lines if line.method != "teacher"]
            if lines:
                teachers = [line for line in lines if line.method == "teacher"]
                compared.append(Comparison(name, column, trained, teachers))
    return compared


def _lines(groups: Mapping[str, Sequence[Record]], variant_of: Mapping[str, str]) -> list[Line]:
    names = Counter((runs[0].method, variant_of[group]) for group, runs in groups.items())
    lines = []
    for group, runs in groups.items():
        method, variant = runs[0].method, variant_of[group]
        words = tuple(re.split(r", (?=[\w-]+=)", variant)) if variant else ()  # a list is one word
        if names[method, variant] > 1:  # they differ in what no word says, such as the teacher's code
            words = (*words, f"recipe {group[:6]}")
        seeds = sorted(one_of_each_seed(runs), key=lambda run: run.seed)
        lines.append(Line(method, words, tuple(seeds)))
    return sorted(lines, key=lambda line: (line.method, line.words))


def _measured(run: Record, axis: str, metric: str) -> list[Evaluation]:
    """Return the evaluations that a curve shows."""
    nfe = run.evaluations[-1].nfe
    return [e for e in run.evaluations if e.nfe == nfe and getattr(e, axis) > 0 and metric in e.metrics]


def _weights(run: Record) -> tuple[str, str]:
    return run.recipe.teacher_digest, run.recipe.teacher_code
