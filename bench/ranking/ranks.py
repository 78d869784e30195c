"""Ranks, ties, intervals and the best of each teacher's rows, from what can be told apart."""

from collections.abc import Sequence
from dataclasses import replace

from bench.ranking.comparison import Comparison, compare
from bench.ranking.rows import MetricColumn, Resolution, Row


def ranked(
    rows: Sequence[Row], columns: Sequence[MetricColumn]
) -> tuple[list[Row], tuple[Resolution, ...]]:
    """Return the rows with ranks by the first column that their teacher has, and with what is known of
    their numbers in each.

    Rows of different teachers are not compared. The second result is the resolution by which each
    teacher's rows have their ranks.
    """
    found, resolutions = list(rows), list[Resolution]()
    for teacher in dict.fromkeys(row.teacher for row in rows):
        own = [i for i, row in enumerate(rows) if row.teacher == teacher]
        for place, column in enumerate(c for c in columns if any(c in rows[i].numbers for i in own)):
            having = [i for i in own if column in rows[i].numbers]
            # a seed that diverged has no number, and what is left of its row is no fair sample
            whole = [i for i in having if not rows[i].diverged]
            compared, comparison = _compared([found[i] for i in whole], column)
            if place == 0:
                compared = _with_ranks(compared, comparison)
                resolutions += _resolution(teacher, column, compared, comparison)
            for i, row in zip(whole, compared, strict=True):
                found[i] = row
            for i, row in zip(having, _with_the_best([found[i] for i in having], column), strict=True):
                found[i] = row
    return found, tuple(resolutions)


def comparison_of(rows: Sequence[Row], column: MetricColumn) -> Comparison:
    """Compare rows of one teacher, each of which has a number in the column."""
    targets = {row.weights: i for i, row in reversed(list(enumerate(rows))) if row.is_target}
    return compare(
        [row.numbers[column].replicates for row in rows],
        column.direction,
        weights_given=[not row.updates for row in rows],
        targets=[targets.get(row.weights) if row.updates else None for row in rows],
        lost=[row.lost > 0 for row in rows],
        logarithms=column.metric.startswith("fid"),
    )


def _compared(rows: Sequence[Row], column: MetricColumn) -> tuple[list[Row], Comparison]:
    """Return rows of one teacher with the numbers of a column compared, and the comparison.

    The teacher and whatever else has not been trained ranks nowhere, and is compared with the rows that
    began from it.
    """
    trained = [bool(row.updates) for row in rows]
    comparison = comparison_of(rows, column)
    targets = {row.weights: i for i, row in enumerate(rows) if row.is_target}
    found = []
    for i, row in enumerate(rows):
        number = replace(row.numbers[column], interval=comparison.intervals[i])
        if trained[i]:
            target = targets.get(row.weights)
            number = replace(
                number,
                seeds_needed=comparison.seeds_needed[i],
                tied=comparison.is_among_the_best(i, trained) and not row.lost,
                against_teacher=None if target is None else comparison.against(i, target),
            )
        found.append(replace(row, numbers={**row.numbers, column: number}))
    return found, comparison


def _with_the_best(rows: Sequence[Row], column: MetricColumn) -> list[Row]:
    """Return the rows with the best and the second best mean marked, of several trained ones.

    A row that lost seeds is neither, unless all have. The best is not said to be tied with itself.
    """
    trained = [row for row in rows if row.updates]
    fair = [row for row in trained if not row.lost]
    in_order = sorted(fair or trained, key=lambda row: row.order(column))
    best, second, *_ = [*(r.numbers[column].mean for r in in_order[:2] if len(trained) > 1), None, None]
    second = second if second != best else None
    found = []
    for row in rows:
        number = row.numbers[column]
        if row.updates and (not row.lost or not fair):
            is_best = number.mean == best
            number = replace(
                number,
                best=is_best,
                second=number.mean == second,
                tied=number.tied and not is_best and len(trained) > 1,
            )
        found.append(replace(row, numbers={**row.numbers, column: number}))
    return found


def _with_ranks(rows: Sequence[Row], comparison: Comparison) -> list[Row]:
    """Return rows with the range of ranks that each may have among the trained ones."""
    among = [bool(row.updates) for row in rows]
    ranges = comparison.ranges(among) if sum(among) > 1 else [None] * len(rows)
    return [
        row if places is None else replace(row, rank="-".join(map(str, dict.fromkeys(places))))
        for row, places in zip(rows, ranges, strict=True)
    ]


def _resolution(
    teacher: str, column: MetricColumn, rows: Sequence[Row], comparison: Comparison
) -> list[Resolution]:
    """Return the resolution of a teacher's rows, or nothing where nothing is tested."""
    seeds = sorted(row.seeds for row in rows if row.updates and row.seeds > 1)
    if comparison.resolution is None or not seeds:
        return []
    return [
        Resolution(
            teacher,
            column,
            seeds[len(seeds) // 2],
            comparison.resolution,
            comparison.relative,
            comparison.evaluation_known,
        )
    ]
