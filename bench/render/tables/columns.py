"""The columns of a table: each has a name, a title, and a text and values of every row."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from bench.errors import unknown
from bench.ranking.convergence import TARGETS
from bench.ranking.published import PUBLISHED
from bench.ranking.resampling import places
from bench.ranking.rows import Leaderboard, MetricColumn, Number, Row
from bench.units import duration, plus_minus, quantity

NONE = "-"
"""Stands in a table where a row has no value."""


@dataclass(frozen=True)
class TableColumn:
    """One column of a table."""

    name: str
    """The name by which a person asks for the column."""
    title: str
    text: Callable[[Row], str]
    """Return what the column shows of a row to people."""
    values: Callable[[Row], dict[str, Any]]
    """Return what it gives to programs, by key."""
    order: Callable[[Row], Any]
    """Return the key by which rows are sorted, best first."""
    words: bool = False
    """True if it holds words, which are set to the left and may be folded."""
    number: Callable[[Row], Number | None] = lambda row: None
    """Return the number that may be best, second or tied."""
    note: str = ""
    """A footnote that explains the column."""
    usual: bool = True
    """True if a table has it unless other columns are asked for."""


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
        _fact("rank", "rank", lambda r: r.rank, lambda r: _at_end(r.rank.partition("-")[0])),
        *(_metric(c) for c in board.columns),
        *(_about(first, board) if first else []),
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
            lambda r: _yes_or_no(r.data_free),
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
            lambda r: _at_end(r.tuning),
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


def _yes_or_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: NONE}[value]


def _at_end(value: Any) -> tuple[bool, float]:
    """Return a key by which rows without a value come last."""
    return (value is None or value == "", float(value or 0))


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


def _about(c: MetricColumn, board: Leaderboard) -> list[TableColumn]:
    """Return the columns that can be asked for beside the mean of the ranking metric."""
    name = c.metric.upper()
    return [
        TableColumn(
            "median",
            f"{name} median",
            lambda r: NONE if (median := r.median(c)) is None else plus_minus(median, None),
            lambda r: {f"{c.key}_median": r.median(c)},
            lambda r: _at_end(r.median(c)),
            note="median: over seeds, lost ones included; -: of most seeds that diverged.",
            usual=False,
        ),
        _interval(c),
        _places(c, board),
        _detail(
            c,
            "against-teacher",
            "against the teacher's",
            "against the teacher's: what can be told beyond chance; open: nothing.",
            lambda n: n.against_teacher or NONE,
            lambda n: {"better": 0, "open": 1, "worse": 2}.get(n.against_teacher or ""),
        ),
        _detail(
            c,
            "seeds-needed",
            "seeds needed",
            "seeds needed: of this row and of the best, to tell them apart four times in five if they "
            "differ as they do here; -: of the best, of what is not ranked, or more than a thousand.",
            lambda n: NONE if n.seeds_needed is None else str(n.seeds_needed),
        ),
        _detail(
            c,
            "evaluation-noise",
            "evaluation noise",
            "evaluation noise: standard deviation of one replicate of images of the same network.",
            lambda n: NONE if n.evaluation_noise is None else plus_minus(n.evaluation_noise, None),
        ),
        _detail(
            c,
            "training-noise",
            "training noise",
            "training noise: standard deviation over training seeds without what evaluation adds to it.",
            lambda n: NONE if n.training_noise is None else plus_minus(n.training_noise, None),
        ),
        _detail(c, "tied", "tied with best", "", lambda n: _yes_or_no(n.tied)),
        TableColumn(
            "area",
            f"area under ln {name}",
            lambda r: plus_minus(r.area.mean, r.area.std) if r.area else NONE,
            lambda r: {
                "area": r.area.mean if r.area else None,
                "area_std": r.area.std if r.area else None,
            },
            lambda r: _at_end(r.area.mean if r.area else None),
            note=f"area: mean of ln {name} over ln FLOPs from the first evaluation after zero to the last, "
            "by trapezoids; it compares rows of one budget.",
            usual=False,
        ),
        *(_target(factor, name) for factor in TARGETS),
    ]


def _detail(
    c: MetricColumn,
    name: str,
    title: str,
    note: str,
    text: Callable[[Number], str],
    order: Callable[[Number], Any] | None = None,
) -> TableColumn:
    """Return the column of an attribute of the ranking metric's number, by which rows are sorted unless
    ``order`` gives another key.
    """
    attribute = name.replace("-", "_")

    def value(row: Row) -> Any:
        return getattr(row.numbers[c], attribute) if c in row.numbers else None

    return TableColumn(
        name,
        f"{c.metric.upper()} {title}",
        lambda r: text(r.numbers[c]) if c in r.numbers else NONE,
        lambda r: {f"{c.key}_{attribute}": value(r)},
        lambda r: _at_end(order(r.numbers[c]) if order and c in r.numbers else value(r)),
        note=note,
        usual=False,
    )


def _interval(c: MetricColumn) -> TableColumn:
    """Return the column of the interval of the ranking metric's mean."""

    def ends(row: Row) -> tuple[float, float] | None:
        return row.numbers[c].interval if c in row.numbers else None

    return TableColumn(
        "interval",
        f"{c.metric.upper()} 95 % interval",
        lambda r: (
            "[{}, {}]".format(*(plus_minus(e, None) for e in found)) if (found := ends(r)) else NONE
        ),
        lambda r: dict(zip((f"{c.key}_low", f"{c.key}_high"), ends(r) or (None, None), strict=True)),
        lambda r: _at_end((ends(r) or (None,))[0]),
        note="interval: of the mean over training seeds and evaluation noise; of a teacher or a single seed, "
        "over evaluation noise alone.",
        usual=False,
    )


def _places(c: MetricColumn, board: Leaderboard) -> TableColumn:
    """Return the column of the places that a row has in tables of seeds that are drawn anew."""

    @functools.cache
    def of_teacher(teacher: str) -> dict[tuple[str, ...], tuple[int, int]]:
        own = [r for r in board.rows if r.teacher == teacher and r.rank != NONE]
        found = places([r.numbers[c].values for r in own], c.direction)
        return {r.runs: ends for r, ends in zip(own, found, strict=True)}

    def ends(row: Row) -> tuple[int, int] | None:
        return None if row.published else of_teacher(row.teacher).get(row.runs)

    return TableColumn(
        "places",
        "places",
        lambda r: NONE if (found := ends(r)) is None else "-".join(map(str, dict.fromkeys(found))),
        lambda r: dict(zip(("place_low", "place_high"), ends(r) or (None, None), strict=True)),
        lambda r: _at_end((ends(r) or (None,))[0]),
        note="places: in nine of ten tables of seeds that are drawn anew from each row's own; new seeds "
        "would scatter more.",
        usual=False,
    )


def _target(factor: float, name: str) -> TableColumn:
    """Return the column of the compute until a metric is at a multiple of the teacher's own number."""

    def text(row: Row) -> str:
        if (reach := row.reached.get(factor)) is None:
            return NONE
        some = f" ({reach.reached}/{reach.runs})" if reach.reached < reach.runs else ""
        return (f"> {quantity(reach.spent)}" if reach.cost is None else quantity(reach.cost)) + some

    def values(row: Row) -> dict[str, Any]:
        reach, key = row.reached.get(factor), f"flops_to_{factor:g}x"
        return {
            key: reach.cost if reach else None,
            f"{key}_reached": reach.reached if reach else None,
            f"{key}_of": reach.runs if reach else None,
            f"{key}_spent": reach.spent if reach else None,
        }

    def order(row: Row) -> tuple[bool, float]:
        if (reach := row.reached.get(factor)) is None:
            return (True, 0.0)
        return (reach.cost is None, reach.spent if reach.cost is None else reach.cost)

    return TableColumn(
        f"to-{factor:g}x",
        f"FLOPs to {factor:g}x teacher",
        text,
        values,
        order,
        note=f"FLOPs to a multiple of the teacher's own {name}: median over seeds, "
        "by lines between evaluation points on log-log axes; (k/n): k of n runs reached it; >: "
        "too few for a median, which is more than what the others spent.",
        usual=False,
    )


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
        lambda r: _at_end(cost(r) or None),
        usual=usual,
    )
