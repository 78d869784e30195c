"""From records to the panels of a figure: runs that differ only in their seed are one line, each protocol has its own panel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.leaderboard.finals import frame
from bench.leaderboard.leaderboard import leaderboard
from bench.leaderboard.rows import Column
from bench.leaderboard.variants import group_of, variants
from bench.runs.record import Evaluation, Record
from bench.runs.store import own_way

AXES = ("images", "flops", "seconds")
"""What a curve can be drawn against; flops and seconds include the one-off costs."""


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
    """What was given by hand, such as ``alpha=1.0``."""
    runs: tuple[Record, ...]

    @property
    def nfe(self) -> int:
        """Evaluations of the network for an image, by the finished generator."""
        return self.runs[0].evaluations[-1].nfe

    def curve(self, axis: str, metric: str) -> list[Point]:
        """The points at which every seed was measured, with the generator's final NFE and at a cost above zero.

        Seeds are matched by their updates; where a budget of seconds gave each its own number, from the end backwards.
        """
        seeds = [_measured(run, axis, metric) for run in self.runs]
        if len({points[-1].updates for points in seeds if points}) > 1:
            matched = list(zip(*(reversed(points) for points in seeds), strict=False))[::-1]
        else:
            by_updates = [{e.updates: e for e in points} for points in seeds]
            shared = sorted(set.intersection(*(set(points) for points in by_updates)))
            matched = [tuple(points[updates] for points in by_updates) for updates in shared]
        return [
            Point(tuple(float(getattr(e, axis)) for e in same), tuple(e.metrics[metric].value for e in same)) for same in matched
        ]

    def end(self, axis: str, metric: str) -> Point:
        """What the runs cost in all, and their final numbers."""
        return Point(tuple(r.cost.spent(axis) for r in self.runs), self.final(metric))

    def final(self, metric: str) -> tuple[float, ...]:
        """The final number of each seed."""
        return tuple(r.final[metric] for r in self.runs)

    @property
    def left_out(self) -> list[int]:
        """NFE of the evaluations that no curve shows: a generator on its way to fewer steps is not yet what is compared."""
        return sorted({e.nfe for r in self.runs for e in r.evaluations} - {self.nfe}, reverse=True)


@dataclass(frozen=True)
class Panel:
    """What may be compared: one teacher, one metric, one protocol."""

    teacher: str
    column: Column
    lines: list[Line]
    """The trained ones."""
    teachers: list[Line]
    """The teacher itself, by every sampler that was measured."""

    @property
    def references(self) -> list[Line]:
        """The teacher by its own sampler, with the very weights that the lines distil."""
        distilled = {_weights(run) for line in self.lines for run in line.runs}
        return [line for line in self.teachers if own_way(line.runs[0].recipe.settings) and _weights(line.runs[0]) in distilled]

    @property
    def shared(self) -> tuple[str, ...]:
        """The words that all lines have, which therefore tell none from another."""
        return tuple(w for w in self.lines[0].words if all(w in line.words for line in self.lines)) if self.lines else ()

    @property
    def title(self) -> str:
        """The teacher, and what was given for every line."""
        return self.teacher + (f" ({', '.join(self.shared)})" if self.shared else "")

    def name(self, line: Line) -> str:
        """The method, and what sets this line apart."""
        apart = [w for w in line.words if w not in self.shared]
        return line.method + (f" ({', '.join(apart)})" if apart else "")


def panels(
    records: Sequence[Record],
    metric: str,
    teacher: str | None = None,
    methods: Collection[str] | None = None,
    protocol: str | None = None,
) -> list[Panel]:
    """The finished runs that measured ``metric``, by teacher and protocol; the usual protocol of a teacher comes first."""
    kept = [
        r
        for r in records
        if r.status == "done"
        and (teacher is None or r.teacher == teacher)
        and (methods is None or r.method in methods or r.method == "teacher")
    ]
    data = frame(kept)
    data = data[data["metric"] == metric]
    columns = leaderboard(kept, metrics=[metric]).columns
    if protocol is not None:
        columns = [c for c in columns if protocol in (c.label, c.label.partition("@")[0])]
    groups: dict[str, list[Record]] = {}
    for r in kept:
        groups.setdefault(group_of(r), []).append(r)
    words = variants(groups)
    found = []
    for name in sorted(set(data["teacher"])):
        for column in columns:
            same = (data["teacher"] == name) & (data["protocol"] + "@" + data["fingerprint"] == column.protocol)
            ids = set(data.loc[same, "run_id"])
            measured = {group: [r for r in runs if r.run_id in ids] for group, runs in groups.items()}
            lines = _lines({group: runs for group, runs in measured.items() if runs}, words)
            trained = [line for line in lines if line.method != "teacher"]
            if lines:
                found.append(Panel(name, column, trained, [line for line in lines if line.method == "teacher"]))
    return found


def _lines(groups: dict[str, list[Record]], words: dict[str, str]) -> list[Line]:
    names = Counter((runs[0].method, words[group]) for group, runs in groups.items())
    lines = []
    for group, runs in groups.items():
        method, told = runs[0].method, words[group]
        apart = tuple(re.split(r", (?=[\w-]+=)", told)) if told else ()  # a list of numbers is one word
        if names[method, told] > 1:  # they differ in what no word says, such as the teacher's code
            apart = (*apart, f"recipe {group[:6]}")
        seeds = {r.seed: r for r in runs}  # a seed measured twice, by other points or repeats, is one seed
        lines.append(Line(method, apart, tuple(seeds[seed] for seed in sorted(seeds))))
    return sorted(lines, key=lambda line: (line.method, line.words))


def _measured(run: Record, axis: str, metric: str) -> list[Evaluation]:
    """The evaluations that a curve shows."""
    nfe = run.evaluations[-1].nfe
    return [e for e in run.evaluations if e.nfe == nfe and getattr(e, axis) > 0 and metric in e.metrics]


def _weights(run: Record) -> tuple[str, str]:
    return run.recipe.teacher_digest, run.recipe.teacher_code
