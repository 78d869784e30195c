"""The columns that a table can have, by name."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from bench.errors import unknown
from bench.ranking.published import PUBLISHED
from bench.ranking.rows import Leaderboard, MetricColumn, Number, Row
from bench.render.tables.column import NONE, TableColumn, at_end, yes_or_no
from bench.render.tables.details import about
from bench.units import duration, plus_minus, quantity


def columns(board: Leaderboard, names: Sequence[str]) -> list[TableColumn]:
    """Return the columns of these names.

    The name of a metric stands for all of its columns, and the names of ``_sets`` for several columns.
    Raises UsageError for an unknown name.
    """
    known = _known(board)
    sets = _sets(board, known)
    metrics = {c.metric: {k.key for k in board.columns if k.metric == c.metric} for c in board.columns}
    chosen: list[TableColumn] = []
    for name in names:
        wanted = sets.get(name) or metrics.get(name) or {name}
        own = [c for c in known if c.name in wanted]
        if not own:
            raise unknown("column", name, [*sets, *(c.name for c in known), *metrics])
        chosen += [c for c in own if c not in chosen]
    return chosen


def _sets(board: Leaderboard, known: Sequence[TableColumn]) -> dict[str, set[str]]:
    """Return the names that stand for several columns, each with the names of these.

    ``usual`` is what a table has unless other columns are asked for, and ``paper`` what fits the width
    of a page: the method, the metrics of the papers' tables, and what an image and the training took.
    """
    teachers = {row.teacher for row in board.rows}
    papers = {c.key for c in board.columns if c.metric in ("fid", "is")}
    first = {c.key for c in board.columns[:1]}
    return {
        "all": {c.name for c in known},
        "metrics": {c.key for c in board.columns},
        "usual": {c.name for c in known if c.usual},
        "paper": {
            "method",
            "nfe",
            "data-free",
            "images" if any(r.published for r in board.rows) else "flops",
        }
        | ({"teacher"} if len(teachers) > 1 else set())
        | ({"seeds"} if any(r.lost for r in board.rows) else set())
        | (papers or first),
    }


def _known(board: Leaderboard) -> list[TableColumn]:
    """Return every column that the board can have, in the order of a table."""
    first = board.columns[0] if board.columns and board.columns[0].protocol != PUBLISHED else None
    return [
        _fact("teacher", "teacher", lambda r: r.teacher, lambda r: r.teacher, words=True),
        TableColumn(
            "method",
            "method",
            _method,
            lambda r: {"method": r.method, "variant": r.variant},
            _method,
            words=True,
        ),
        _fact("rank", "rank", lambda r: r.rank, lambda r: at_end(r.rank.partition("-")[0])),
        *(_metric(c) for c in board.columns),
        *(about(first, board) if first else []),
        TableColumn(
            "seeds",
            "seeds",
            _seeds,
            lambda r: {"seeds": r.seeds, "lost": r.lost},
            lambda r: -r.seeds,
        ),
        _fact("nfe", "NFE", lambda r: str(r.nfe), lambda r: r.nfe),
        _fact(
            "data-free",
            "data-free",
            lambda r: yes_or_no(r.data_free),
            lambda r: {True: 0, False: 1, None: 2}[r.data_free],
        ),
        _cost("images", "images", "images", quantity),
        _cost("updates", "updates", "updates", quantity, usual=False),
        _cost("flops", "FLOPs", "flops", quantity),
        _cost("time", "time", "seconds", duration),
        _fact(
            "tuning",
            "tuning",
            _tuning,
            lambda r: at_end(r.tuning),
        ),
        TableColumn(
            "source",
            "source",
            _source,
            _source_values,
            lambda r: (r.published is not None, r.cite),
            words=True,
            usual=any(r.published for r in board.rows),
        ),
    ]


def _fact(
    name: str,
    title: str,
    text: Callable[[Row], str],
    order: Callable[[Row], Any],
    *,
    words: bool = False,
) -> TableColumn:
    """Return the column of an attribute of the row, which programs get as it is."""
    attribute = name.replace("-", "_")
    return TableColumn(name, title, text, lambda r: {attribute: getattr(r, attribute)}, order, words)


def _method(row: Row) -> str:
    return row.method + (f" ({row.variant})" if row.variant else "")


def _seeds(row: Row) -> str:
    if row.published:
        return NONE
    return f"{row.attempts - row.lost}/{row.attempts}" if row.lost else str(row.seeds)


def _tuning(row: Row) -> str:
    """Write the effort behind a row's settings: runs, and their operations as far as they are known."""
    if row.tuning is None:
        return NONE
    return f"{row.tuning} runs" + (f", {quantity(row.tuning_flops)}" if row.tuning_flops else "")


def _source(row: Row) -> str:
    if row.published is None:
        return "measured"
    return "published" if row.published.verified else "published, unverified"


def _source_values(row: Row) -> dict[str, Any]:
    p = row.published
    return {
        "source": "published" if p else "measured",
        "verified": p.verified if p else None,
        "cite": row.cite or None,
        "notes": p.notes if p else None,
    }


def _metric(c: MetricColumn) -> TableColumn:
    """Return the column of a metric under a protocol."""

    def values(row: Row) -> dict[str, Any]:
        n = row.numbers.get(c)
        return {
            c.key: n.mean if n else None,
            f"{c.key}_std": n.std if n else None,
            f"{c.key}_seeds": n.seeds if n else 0,
        }

    def text(row: Row) -> str:
        n = row.numbers.get(c)
        if n is None:
            return NONE
        if c.protocol == PUBLISHED:
            return _as_printed(n)
        mean, median = plus_minus(n.mean, n.std), row.median(c)
        return mean if not row.lost or median is None else f"{mean}, median {plus_minus(median, None)}"

    return TableColumn(
        c.key, c.title, text, values, lambda r: r.order(c), number=lambda r: r.numbers.get(c)
    )


def _as_printed(number: Number) -> str:
    """Show a published number with as many decimals as it was published with, two at least."""
    decimals = max(2, len(f"{number.mean}".partition(".")[2]))
    return f"{number.mean:.{decimals}f}" + (f" ± {number.std}" if number.std is not None else "")


def _cost(
    name: str,
    title: str,
    axis: str,
    say: Callable[[float], str],
    *,
    usual: bool = True,
) -> TableColumn:
    """Return the column of a cost, which is empty for a row without training."""
    cost = attrgetter(axis)
    return TableColumn(
        name,
        title,
        lambda r: say(cost(r)) if r.updates or (r.published and cost(r)) else NONE,
        lambda r: {axis: None if r.published and not cost(r) else cost(r)},
        lambda r: at_end(cost(r) or None),
        usual=usual,
    )
