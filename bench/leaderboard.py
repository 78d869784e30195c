"""From records to a leaderboard: runs that differ only in their seed are one row; every number keeps its protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.curves import TARGETS, Curve, Reach, reach
from bench.grouping import group_of, measured_how, variants
from bench.noise import noise
from bench.published import PUBLISHED, Result
from bench.record import Measurement, Record
from bench.significance import interval, moments, rank_ranges, tied

if TYPE_CHECKING:
    import pandas as pd

AXES = ("images", "updates", "flops", "seconds")


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


@dataclass(frozen=True)
class _Final:
    """One final number of one run."""

    record: Record
    group: str
    metric: str
    protocol: str
    fingerprint: str
    value: float
    std: float | None
    replicates: int

    @property
    def key(self) -> tuple[str, str]:
        return self.metric, f"{self.protocol}@{self.fingerprint}"


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each finished run and metric: the run, its cost, the value, its std over replicates, and the protocol."""
    import pandas as pd

    rows = [
        {
            "run_id": f.record.run_id,
            "method": f.record.method,
            "teacher": f.record.teacher,
            "seed": f.record.seed,
            "group": f.group,
            "metric": f.metric,
            "protocol": f.protocol,
            "fingerprint": f.fingerprint,
            "direction": f.record.direction(f.metric),
            "value": f.value,
            "std": f.std,
            "nfe": f.record.nfe,
            "data_free": _data_free(f.record),
            "tuning": f.record.tuning.get("runs"),
            **{axis: f.record.cost[axis] for axis in AXES},
        }
        for f in _finals(records)
    ]
    columns = "run_id method teacher seed group metric protocol fingerprint direction value std nfe data_free tuning"
    return pd.DataFrame(rows, columns=[*columns.split(), *AXES])


def _finals(records: Sequence[Record]) -> list[_Final]:
    """Every final number of the finished runs; where papers quote the smallest of the replicates, that as a metric of its own."""
    found = []
    for record in records:
        if record.status != "done" or not record.evaluations:
            continue
        group = group_of(record)
        for name, m in record.evaluations[-1].metrics.items():
            of, count = measured_how(record, name), _replicates(record, m)
            found.append(_Final(record, group, name, m.protocol, of, record.final[name], m.std, count))
            if m.smallest is not None:
                found.append(_Final(record, group, f"{name}-min{count}", m.protocol, of, m.smallest, None, 1))
    return found


def smallest_of(record: Record) -> list[str]:
    """The metrics of a record that are the smallest of replicates, such as ``fid-min3``."""
    last = record.evaluations[-1].metrics.items() if record.evaluations else ()
    return [f"{name}-min{_replicates(record, m)}" for name, m in last if m.smallest is not None]


def _replicates(record: Record, measured: Measurement) -> int:
    return len(measured.values or ()) or (record.recipe.get("evaluation") or {}).get("repeats", 1)


def _data_free(record: Record) -> bool:
    return not {"TeacherPairs", "RealImages"} & set(record.requires)


def leaderboard(
    records: Sequence[Record],
    teacher: str | None = None,
    metrics: Sequence[str] | None = None,
    choice: Choice | None = None,
    published: Sequence[Row] = (),
) -> Leaderboard:
    """The table of all finished runs, of one teacher, some metrics and a choice of rows if asked.

    Ranks, ties and the best are among the rows that were chosen; ``published`` rows take no part in them.
    """
    records = [r for r in records if r.status == "done" and (teacher is None or r.teacher == teacher)]
    finals = [f for f in _finals(records) if metrics is None or f.metric in metrics]
    columns = _columns(finals, metrics)
    targets = _targets(finals, columns)
    groups: dict[tuple[str, str, str], list[_Final]] = {}
    for f in finals:
        groups.setdefault((f.record.teacher, f.record.method, f.group), []).append(f)
    told = variants({group: [f.record for f in own] for (*_, group), own in groups.items()})
    rows = [_row(own, columns, told, targets) for _, own in sorted(groups.items(), key=lambda item: item[0])]
    rows = [row for row in rows if choice is None or choice.takes(row)]
    rows.sort(key=lambda row: (row.teacher, *_rank(row, columns)))
    published = [row for row in published if choice is None or choice.takes(row)]
    columns = [c for c in columns if any(c in row.numbers for row in rows)]
    shown = {c.metric for c in columns} or set(metrics or ["fid"])
    added = dict.fromkeys(c for row in published for c in row.numbers if c.metric in shown)
    published = [row for row in published if any(c in row.numbers for c in added)]
    together = _standings(rows, columns) + sorted(published, key=lambda row: _rank(row, list(added)))
    together.sort(key=lambda row: (row.teacher, row.published is not None))
    return Leaderboard([*columns, *added], together)


def _standings(rows: list[Row], columns: list[Column]) -> list[Row]:
    """The rows with ranks by the first column, and best, second and tied of every column, each teacher's for themselves."""
    rows = list(rows)
    for teacher in dict.fromkeys(row.teacher for row in rows):
        trained = [i for i, row in enumerate(rows) if row.teacher == teacher and row.updates]
        for column in columns:
            places = [i for i in trained if column in rows[i].numbers]
            groups = [rows[i].numbers[column].values for i in places]
            if len(places) > 1:
                order = sorted(range(len(places)), key=lambda k: _rank(rows[places[k]], [column]))
                for k, (i, close) in enumerate(zip(places, tied(groups, column.direction), strict=True)):
                    number = replace(rows[i].numbers[column], best=k == order[0], second=k == order[1], tied=close)
                    rows[i] = replace(rows[i], numbers={**rows[i].numbers, column: number})
            if column == columns[0]:
                ranked = [i for i, values in zip(places, groups, strict=True) if len(values) > 1]
                found = rank_ranges([values for values in groups if len(values) > 1], column.direction)
                for i, (first, last) in zip(ranked, found, strict=True):
                    rows[i] = replace(rows[i], rank=f"{first}" if first == last else f"{first}-{last}")
    return rows


def _columns(finals: list[_Final], metrics: Sequence[str] | None) -> list[Column]:
    directions = {f.key: f.record.direction(f.metric) for f in finals}
    order = {name: i for i, name in enumerate(metrics or dict.fromkeys(f.metric for f in finals))}
    versions: dict[tuple[str, str], set[str]] = {}
    runs: dict[str, set[str]] = {}
    for f in finals:
        versions.setdefault((f.metric, f.protocol), set()).add(f.fingerprint)
        runs.setdefault(f.key[1], set()).add(f.record.run_id)
    columns = []
    for (metric, protocol), direction in directions.items():
        name, _, fingerprint = protocol.rpartition("@")
        label = name if len(versions[metric, name]) == 1 else f"{name}@{fingerprint[:6]}"
        columns.append(Column(metric, protocol, label, direction))
    return sorted(columns, key=lambda c: (order[c.metric], -len(runs[c.protocol]), c.label))  # the usual protocol ranks


def _row(finals: list[_Final], columns: list[Column], told: dict[str, str], targets: dict[tuple[str, str], float]) -> Row:
    first = finals[0].record
    runs = list({f.record.seed: f.record for f in finals}.values())
    numbers = {}
    for column in columns:
        own = {f.record.seed: f for f in finals if f.key == (column.metric, column.protocol)}
        if own:  # a seed measured twice, by other points or repeats, is one seed
            numbers[column] = _number(list(own.values()))
    curves = []
    if columns and columns[0] in numbers and columns[0].direction == "lower" and first.cost["updates"]:
        own = {f.record.seed: f for f in finals if f.key == (columns[0].metric, columns[0].protocol)}
        curves = [_curve(f.record, columns[0].metric) for f in own.values()]
    areas = [area for curve in curves if (area := curve.area()) is not None]
    target = targets.get((first.teacher, first.recipe.get("teacher_digest", "")))
    return Row(
        teacher=first.teacher,
        method=first.method,
        variant=told.get(finals[0].group, ""),
        seeds=len(runs),
        nfe=first.nfe,
        data_free=_data_free(first),
        tuning=None if "given" in first.sources.values() else first.tuning.get("runs"),
        numbers=numbers,
        images=_mean(r.cost["images"] for r in runs),
        updates=_mean(r.cost["updates"] for r in runs),
        flops=_mean(r.cost["flops"] for r in runs),
        seconds=_mean(r.cost["seconds"] for r in runs),
        area=Number(_mean(areas), _std(areas), tuple(areas)) if areas and len(areas) == len(curves) else None,
        reached=tuple((factor, reach(curves, factor * target)) for factor in TARGETS) if curves and target else (),
        runs=tuple(record.run_id for record in runs),
    )


def _number(finals: list[_Final]) -> Number:
    values = [f.value for f in finals]
    apart = noise(values, [f.std for f in finals], [f.replicates for f in finals])
    std = _std(values) if len(values) > 1 else finals[0].std
    return Number(_mean(values), std, tuple(values), apart.evaluation, apart.training)


def _mean(values: Iterable[float]) -> float:
    return moments(tuple(values))[0]


def _std(values: Sequence[float]) -> float | None:
    return math.sqrt(moments(values)[1]) if len(values) > 1 else None


def _curve(record: Record, metric: str) -> Curve:
    """Over FLOPs, of the trained generator; a point that was measured at another number of steps than the result is not on it."""
    trained = [e for e in record.evaluations if e.updates and metric in e.metrics and e.nfe == record.nfe]
    points = [(e.flops, e.metrics[metric].value) for e in trained]
    return Curve(tuple(float(cost) for cost, _ in points), tuple(value for _, value in points))


def _targets(finals: list[_Final], columns: list[Column]) -> dict[tuple[str, str], float]:
    """By teacher and its weights: the first column's number of the teacher itself, sampled its own way."""
    return {
        (f.record.teacher, f.record.recipe.get("teacher_digest", "")): f.value
        for f in finals
        if f.record.method == "teacher"
        and f.key == (columns[0].metric, columns[0].protocol)
        and all(f.record.recipe.get("settings", {}).get(name) is None for name in ("steps", "solver", "churn"))
    }


def _rank(row: Row, columns: list[Column]) -> tuple[float, ...]:
    return tuple(
        (row.numbers[c].mean if c.direction == "lower" else -row.numbers[c].mean) if c in row.numbers else float("inf")
        for c in columns
    )


def _unsaid(result: Result) -> str:
    """The variant without what the label says already."""
    variant = result.variant or ""
    return "" if variant in result.label else variant.removeprefix(result.label).strip(" ,()")


def published_rows(results: Sequence[Result], teacher_of: dict[str, str]) -> list[Row]:
    """Published numbers as rows; ``teacher_of`` names the teacher under which each data set is shown."""
    directions = {"fid": "lower", "is": "higher", "precision": "higher", "recall": "higher"}
    columns = {name: Column(name, PUBLISHED, PUBLISHED, direction) for name, direction in directions.items()}
    return [
        Row(
            teacher=teacher_of[r.dataset],
            method=r.label,
            variant=_unsaid(r),
            seeds=0,
            nfe=r.nfe,
            data_free=r.data_free,
            tuning=None,
            images=float(r.training_images or 0),
            updates=0,
            flops=0,
            seconds=0,
            numbers={
                c: Number(v, r.fid_std if n == "fid" else None, ()) for n, c in columns.items() if (v := r.metric(n)) is not None
            },
            published=r,
            cite=r.source,
        )
        for r in results
        if r.dataset in teacher_of
    ]
