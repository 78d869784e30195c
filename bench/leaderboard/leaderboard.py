"""From records to a leaderboard: runs that differ only in their seed are one row; every number keeps its protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.leaderboard.convergence import TARGETS, Curve, reach
from bench.leaderboard.finals import Final, final_numbers
from bench.leaderboard.published import PUBLISHED, Result
from bench.leaderboard.rows import Choice, Column, Leaderboard, Number, Row
from bench.leaderboard.statistics import mean_and_variance, rank_ranges, tied, variance_components
from bench.leaderboard.variants import variants
from bench.runs.record import Record
from bench.runs.store import own_way

if TYPE_CHECKING:
    pass


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
    finals = [f for f in final_numbers(records) if metrics is None or f.metric in metrics]
    columns = _columns(finals, metrics)
    targets = _targets(finals, columns)
    groups: dict[tuple[str, str, str], list[Final]] = {}
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


def _columns(finals: list[Final], metrics: Sequence[str] | None) -> list[Column]:
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


def _row(finals: list[Final], columns: list[Column], told: dict[str, str], targets: dict[tuple[str, str], float]) -> Row:
    first = finals[0].record
    runs = list({f.record.seed: f.record for f in finals}.values())
    numbers = {}
    for column in columns:
        own = {f.record.seed: f for f in finals if f.key == (column.metric, column.protocol)}
        if own:  # a seed measured twice, by other points or repeats, is one seed
            numbers[column] = _number(list(own.values()))
    curves = []
    if columns and columns[0] in numbers and columns[0].direction == "lower" and first.cost.updates:
        own = {f.record.seed: f for f in finals if f.key == (columns[0].metric, columns[0].protocol)}
        curves = [_curve(f.record, columns[0].metric) for f in own.values()]
    areas = [area for curve in curves if (area := curve.area()) is not None]
    target = targets.get((first.teacher, first.recipe.teacher_digest))
    return Row(
        teacher=first.teacher,
        method=first.method,
        variant=told.get(finals[0].group, ""),
        seeds=len(runs),
        nfe=first.nfe,
        data_free=first.data_free,
        tuning=None if "given" in first.sources.values() else first.tuning.runs,
        numbers=numbers,
        images=_mean(r.cost.images for r in runs),
        updates=_mean(r.cost.updates for r in runs),
        flops=_mean(r.cost.flops for r in runs),
        seconds=_mean(r.cost.seconds for r in runs),
        area=Number(_mean(areas), _std(areas), tuple(areas)) if areas and len(areas) == len(curves) else None,
        reached=tuple((factor, reach(curves, factor * target)) for factor in TARGETS) if curves and target else (),
        runs=tuple(record.run_id for record in runs),
    )


def _number(finals: list[Final]) -> Number:
    values = [f.value for f in finals]
    apart = variance_components(values, [f.std for f in finals], [f.replicates for f in finals])
    std = _std(values) if len(values) > 1 else finals[0].std
    return Number(_mean(values), std, tuple(values), apart.evaluation, apart.training)


def _mean(values: Iterable[float]) -> float:
    return mean_and_variance(tuple(values))[0]


def _std(values: Sequence[float]) -> float | None:
    return math.sqrt(mean_and_variance(values)[1]) if len(values) > 1 else None


def _curve(record: Record, metric: str) -> Curve:
    """Over FLOPs, of the trained generator; a point that was measured at another number of steps than the result is not on it."""
    trained = [e for e in record.evaluations if e.updates and metric in e.metrics and e.nfe == record.nfe]
    points = [(e.flops, e.metrics[metric].value) for e in trained]
    return Curve(tuple(float(cost) for cost, _ in points), tuple(value for _, value in points))


def _targets(finals: list[Final], columns: list[Column]) -> dict[tuple[str, str], float]:
    """By teacher and its weights: the first column's number of the teacher itself, sampled its own way."""
    return {
        (f.record.teacher, f.record.recipe.teacher_digest): f.value
        for f in finals
        if f.record.method == "teacher"
        and f.key == (columns[0].metric, columns[0].protocol)
        and own_way(f.record.recipe.settings)
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
