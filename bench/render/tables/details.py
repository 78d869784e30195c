"""The columns that can be asked for beside the mean of the ranking metric."""

import functools
import math
from collections.abc import Callable
from typing import Any

from bench.ranking.convergence import TARGETS
from bench.ranking.power import MOST_SEEDS
from bench.ranking.resampling import places
from bench.ranking.rows import Leaderboard, MetricColumn, Number, Row
from bench.render.tables.column import NONE, TableColumn, at_end, yes_or_no
from bench.units import plus_minus, quantity


def about(c: MetricColumn, board: Leaderboard) -> list[TableColumn]:
    """Return the columns that can be asked for beside the mean of the ranking metric."""
    name = c.metric.upper()
    return [
        _median(c),
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
            "differ as they do here; where no number does, more replicates may.",
            lambda n: (
                NONE if n.seeds_needed is None else f"{n.seeds_needed}".replace("inf", f"> {MOST_SEEDS}")
            ),
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
        _detail(c, "tied", "tied with best", "", lambda n: yes_or_no(n.tied)),
        TableColumn(
            "area",
            f"area under ln {name}",
            lambda r: plus_minus(r.area.mean, r.area.std) if r.area else NONE,
            lambda r: {
                "area": r.area.mean if r.area else None,
                "area_std": r.area.std if r.area else None,
            },
            lambda r: at_end(r.area.mean if r.area else None),
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
        found = getattr(row.numbers[c], attribute) if c in row.numbers else None
        return None if found == math.inf else found  # which JSON cannot say

    return TableColumn(
        name,
        f"{c.metric.upper()} {title}",
        lambda r: text(r.numbers[c]) if c in r.numbers else NONE,
        lambda r: {f"{c.key}_{attribute}": value(r)},
        lambda r: at_end(order(r.numbers[c]) if order and c in r.numbers else value(r)),
        note=note,
        usual=False,
    )


def _median(c: MetricColumn) -> TableColumn:
    """Return the column of the median over seeds."""
    return TableColumn(
        "median",
        f"{c.metric.upper()} median",
        lambda r: NONE if (median := r.median(c)) is None else plus_minus(median, None),
        lambda r: {f"{c.key}_median": r.median(c)},
        lambda r: at_end(r.median(c)),
        note="median: over seeds, lost ones included; -: of most seeds that diverged.",
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
        lambda r: at_end((ends(r) or (None,))[0]),
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
        lambda r: at_end((ends(r) or (None,))[0]),
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
