"""Ranks, ties, intervals and the best of each teacher's rows, from what can be told apart."""

from collections.abc import Sequence
from dataclasses import replace

from bench.ranking.comparison import Comparison, compare
from bench.ranking.rows import MetricColumn, Resolution, Row


def ranked(
    rows: Sequence[Row], columns: Sequence[MetricColumn]
) -> tuple[list[Row], tuple[Resolution, ...]]:
    """Return the rows with ranks by the first column and with what is known of their numbers in each.

    Rows of different teachers are not compared. The second result is the resolution by which each
    teacher's rows have their ranks.
    """
    found, resolutions = list(rows), list[Resolution]()
    for teacher in dict.fromkeys(row.teacher for row in rows):
        for column in columns:
            places = [
                i
                for i, row in enumerate(found)
                if row.teacher == teacher and column in row.numbers and row.numbers[column].kept
            ]
            own, comparison = _compared([found[i] for i in places], column)
            if column == columns[0]:
                own = _with_ranks(own, comparison)
                resolutions += _resolution(teacher, own, comparison)
            for i, row in zip(places, own, strict=True):
                found[i] = row
    return found, tuple(resolutions)


def comparison_of(rows: Sequence[Row], column: MetricColumn) -> Comparison:
    """Compare rows of one teacher, each of which has numbers that were kept in the column."""
    return compare(
        [row.numbers[column].kept for row in rows],
        column.direction,
        weights_given=[not row.updates for row in rows],
        success=[1 - row.lost / row.attempts if row.attempts else 1.0 for row in rows],
    )


def _compared(rows: Sequence[Row], column: MetricColumn) -> tuple[list[Row], Comparison]:
    """Return rows of one teacher with the numbers of a column compared, and the comparison.

    The teacher and whatever else has not been trained is compared with each row, and ranks nowhere.
    """
    numbers = [row.numbers[column] for row in rows]
    trained = [bool(row.updates) for row in rows]
    comparison = comparison_of(rows, column)
    best, second = _best_two(rows, column)
    target = next((i for i, row in enumerate(rows) if row.is_target), None)
    found = []
    for i, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        new = replace(number, interval=comparison.intervals[i])
        if trained[i] and best is not None:
            new = replace(
                new,
                best=number.mean == best,
                second=number.mean == second,
                tied=number.mean != best and comparison.is_among_the_best(i, trained) and not row.lost,
                seeds_needed=comparison.seeds_needed[i],
            )
        if trained[i] and target is not None and row.weights == rows[target].weights:
            new = replace(new, against_teacher=comparison.against(i, target))
        found.append(replace(row, numbers={**row.numbers, column: new}))
    return found, comparison


def _best_two(rows: Sequence[Row], column: MetricColumn) -> tuple[float | None, float | None]:
    """Return the best mean of the trained rows, if there are several, and the next one."""
    trained = sorted((row for row in rows if row.updates), key=lambda row: row.order(column))
    if len(trained) < 2:
        return None, None
    best, second = (row.numbers[column].mean for row in trained[:2])
    return best, second if second != best else None


def _with_ranks(rows: Sequence[Row], comparison: Comparison) -> list[Row]:
    """Return rows with the range of ranks that each may have among the trained ones."""
    among = [bool(row.updates) for row in rows]
    ranges = comparison.ranges(among) if sum(among) > 1 else [None] * len(rows)
    return [
        row if places is None else replace(row, rank="-".join(map(str, dict.fromkeys(places))))
        for row, places in zip(rows, ranges, strict=True)
    ]


def _resolution(teacher: str, rows: Sequence[Row], comparison: Comparison) -> list[Resolution]:
    """Return the resolution of a teacher's rows, or nothing where nothing is tested."""
    seeds = sorted(row.seeds for row in rows if row.updates and row.seeds > 1)
    if comparison.resolution is None or not seeds:
        return []
    return [Resolution(teacher, seeds[len(seeds) // 2], comparison.resolution, comparison.relative)]
