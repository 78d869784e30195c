"""From records to a leaderboard.

Runs that differ only in their seed are one row, and every number keeps its protocol.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from bench.ranking.convergence import TARGETS, Curve, curve_of, reach
from bench.ranking.finals import Final, final_numbers
from bench.ranking.published import PUBLISHED, Result
from bench.ranking.published import published as read_published
from bench.ranking.ranks import ranked
from bench.ranking.rows import Choice, Leaderboard, MetricColumn, Number, Row
from bench.ranking.statistics import mean_and_variance, variance_components
from bench.ranking.success import diverged, succeeded
from bench.ranking.variants import group_of, one_of_each_seed, variants
from bench.runs.record import Direction, Record
from bench.runs.store import own_way


def leaderboard(
    records: Sequence[Record],
    metrics: Sequence[str] | None = None,
    choice: Choice | None = None,
    published: Sequence[Row] = (),
) -> Leaderboard:
    """Return the table of all finished runs, or of some metrics and a choice of rows.

    Ranks, ties and the best are among the rows that were chosen; ``published`` rows take no part in
    them.
    """
    failed = [record for record in records if record.status == "failed"]
    records = [record for record in records if record.status == "done"]
    finals = [f for f in final_numbers(records) if metrics is None or f.metric in metrics]
    columns = _columns(finals, metrics)
    targets = _targets(finals, columns)
    groups: dict[tuple[str, str, str], list[Final]] = {}
    for final in finals:
        groups.setdefault((final.record.teacher, final.record.method, final.group), []).append(final)
    without = dict[str, list[Record]]()
    for record in failed:
        without.setdefault(group_of(record), []).append(record)
    finished = {group: [f.record for f in own] for (*_, group), own in groups.items()}
    gone = {group: own for group, own in without.items() if group not in finished and diverged(own, ())}
    words = variants(finished | gone)
    rows = [_row_without_numbers(own, words[group]) for group, own in gone.items()]
    rows += [
        _row(groups[key], columns, words[key[-1]], targets, without.get(key[-1], []))
        for key in sorted(groups)
    ]
    rows = [row for row in rows if choice is None or choice.takes(row)]
    rows.sort(key=lambda row: (row.teacher, *(row.order(c) for c in columns)))
    columns = [c for c in columns if any(c in row.numbers for row in rows)]

    published = [row for row in published if choice is None or choice.takes(row)]
    shown = {c.metric for c in columns} or set(metrics or ["fid"])
    others = list(dict.fromkeys(c for row in published for c in row.numbers if c.metric in shown))
    published = [row for row in published if any(c in row.numbers for c in others)]
    rows, resolutions = ranked(rows, columns)
    rows += sorted(published, key=lambda row: tuple(row.order(c) for c in others))
    rows.sort(key=attrgetter("section"))
    return Leaderboard([*columns, *others], rows, resolutions)


def _columns(finals: list[Final], metrics: Sequence[str] | None) -> list[MetricColumn]:
    """Return the columns in the order of the metrics.

    Of several protocols the one of the most runs comes first, and so ranks the rows.
    """
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
        columns.append(MetricColumn(metric, protocol, label, direction))
    return sorted(columns, key=lambda c: (order[c.metric], -len(runs[c.protocol]), c.label))


def _row(
    finals: list[Final],
    columns: list[MetricColumn],
    variant: str,
    targets: Mapping[tuple[str, str], float],
    failed: Sequence[Record],
) -> Row:
    """Return the row of a group of runs; ``targets`` are numbers of teachers by name and weights, and
    ``failed`` the runs of the group that did not finish.
    """
    first = finals[0].record
    runs = one_of_each_seed(final.record for final in finals)
    numbers, curves, lost = dict[MetricColumn, Number](), list[Curve](), set[int]()
    for column in columns:
        own = [final for final in finals if final.key == (column.metric, column.protocol)]
        if own := list({final.record.seed: final for final in own}.values()):
            if not numbers:
                well = succeeded([final.value for final in own], column.direction)
                lost = {f.record.seed for f, ok in zip(own, well, strict=True) if not ok}
            numbers[column] = _number(own)
            if column == columns[0] and column.direction == "lower" and first.cost.updates:
                every = [curve_of(final.record, column.metric) for final in own]
                curves = [
                    curve for curve in every if curve.costs
                ]  # a record may have no point of its NFE
    areas = tuple(area for curve in curves if (area := curve.area()) is not None)
    gone = diverged(failed, (run.seed for run in runs))
    target = targets.get((first.teacher, first.recipe.teacher_digest))
    by_hand = "given" in first.sources.values()
    return Row(
        teacher=first.teacher,
        method=first.method,
        variant=variant,
        seeds=len(runs),
        nfe=first.nfe,
        data_free=first.data_free,
        tuning=None if by_hand else first.tuning.runs,
        tuning_flops=None if by_hand else first.tuning.flops,
        numbers=numbers,
        images=_mean(run.cost.images for run in runs),
        updates=_mean(run.cost.updates for run in runs),
        flops=_mean(run.cost.flops for run in runs),
        seconds=_mean(run.cost.seconds for run in runs),
        area=Number(_mean(areas), _std(areas), areas) if areas and len(areas) == len(curves) else None,
        reached={times: reach(curves, times * target) for times in TARGETS} if curves and target else {},
        runs=tuple(run.run_id for run in runs),
        lost=len(lost | gone),
        diverged=len(gone),
        is_target=first.method == "teacher" and own_way(first.recipe.settings),
        weights=first.recipe.teacher_digest,
    )


def _row_without_numbers(failed: Sequence[Record], variant: str) -> Row:
    """Return the row of a method whose training diverged on every seed."""
    first, gone = failed[0], len(diverged(failed, ()))
    return Row(
        teacher=first.teacher,
        method=first.method,
        variant=variant,
        seeds=0,
        nfe=first.nfe,
        data_free=first.data_free,
        tuning=None if "given" in first.sources.values() else first.tuning.runs,
        numbers={},
        images=_mean(run.cost.images for run in failed),
        updates=_mean(run.cost.updates for run in failed),
        flops=_mean(run.cost.flops for run in failed),
        seconds=_mean(run.cost.seconds for run in failed),
        runs=tuple(run.run_id for run in failed),
        lost=gone,
        diverged=gone,
        weights=first.recipe.teacher_digest,
    )


def _number(finals: list[Final]) -> Number:
    """Return the mean of the numbers of several seeds."""
    values = tuple(final.value for final in finals)
    replicates = tuple(final.replicates for final in finals)
    evaluation, training = variance_components(replicates)
    std = _std(values) if len(values) > 1 else finals[0].std
    return Number(
        _mean(values), std, values, replicates, evaluation_noise=evaluation, training_noise=training
    )


def _mean(values: Iterable[float]) -> float:
    return mean_and_variance(tuple(values))[0]


def _std(values: Sequence[float]) -> float | None:
    return math.sqrt(mean_and_variance(values)[1]) if len(values) > 1 else None


def _targets(finals: list[Final], columns: list[MetricColumn]) -> dict[tuple[str, str], float]:
    """Return the first column's number of each teacher, sampled its own way, by its name and weights."""
    return {
        (f.record.teacher, f.record.recipe.teacher_digest): f.value
        for f in finals
        if f.record.method == "teacher"
        and f.key == (columns[0].metric, columns[0].protocol)
        and own_way(f.record.recipe.settings)
    }


def published_rows(results: Sequence[Result], teacher_of: Mapping[str, str]) -> list[Row]:
    """Return published numbers as rows; ``teacher_of`` is the teacher that a data set is shown under."""
    directions: dict[str, Direction] = {
        "fid": "lower",
        "is": "higher",
        "precision": "higher",
        "recall": "higher",
    }
    columns = {name: MetricColumn(name, PUBLISHED, PUBLISHED, way) for name, way in directions.items()}
    return [
        _published_row(r, teacher_of[r.dataset], columns) for r in results if r.dataset in teacher_of
    ]


def published_beside(records: Sequence[Record], teachers: Sequence[str] | None) -> list[Row]:
    """Return the published rows of these teachers; by default of those that have finished runs, or of all."""
    data = read_published()
    every = [teacher for teachers in data.datasets.values() for teacher in teachers]
    chosen = teachers or list(dict.fromkeys(r.teacher for r in records if r.status == "done")) or every
    return published_rows(data.results, data.shown_under(chosen))


def _published_row(result: Result, teacher: str, columns: Mapping[str, MetricColumn]) -> Row:
    given = result.model_dump(by_alias=True)
    return Row(
        teacher=teacher,
        method=result.label,
        variant=_variant(result),
        seeds=0,
        nfe=result.nfe,
        data_free=result.data_free,
        tuning=None,
        images=float(result.training_images or 0),
        updates=0,
        flops=0,
        seconds=0,
        numbers={
            column: Number(given[name], result.fid_std if name == "fid" else None, ())
            for name, column in columns.items()
            if given[name] is not None
        },
        published=result,
        cite=result.source,
    )


def _variant(result: Result) -> str:
    """Return the variant of a published result without the words that its label says already."""
    variant = result.variant or ""
    return "" if variant in result.label else variant.removeprefix(result.label).strip(" ,()")
