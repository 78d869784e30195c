"""The columns of a table: each with a name to ask for it by, a title, and what it says of a row to people and to programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import unknown
from bench.leaderboard.convergence import TARGETS, Reach
from bench.leaderboard.published import PUBLISHED
from bench.leaderboard.rows import Column, Leaderboard, Number, Row
from bench.units import duration, plus_minus, quantity

ARROWS = {"lower": "↓", "higher": "↑"}
NONE = "-"


@dataclass(frozen=True)
class Shown:
    """One column. ``number`` gives what best, second and tied are told by; ``order`` what rows are sorted by, best first."""

    name: str
    title: str
    text: Callable[[Row], str]
    values: Callable[[Row], dict[str, Any]]
    order: Callable[[Row], Any]
    words: bool = False
    number: Callable[[Row], Number | None] = lambda row: None
    note: str = ""
    """What a reader has to know of it."""
    usual: bool = True
    """Whether a table has it unless other columns are asked for."""


def columns(board: Leaderboard, names: Sequence[str] | None = None) -> list[Shown]:
    """The columns of these names, by default the usual ones. Raises UsageError for a name that there is none of.

    A metric's name is that of all of its columns, ``metrics`` that of all metrics, and ``all`` that of every column there is.
    """
    known = _known(board)
    if names is None:
        return [c for c in known if c.usual]
    found: list[Shown] = []
    for name in names:
        metric = {c.key for c in board.columns if name in (c.metric, "metrics")}
        own = [c for c in known if name in (c.name, "all") or c.name in metric]
        if not own:
            raise unknown("column", name, ["all", "metrics", *(c.name for c in known), *(c.metric for c in board.columns)])
        found += [c for c in own if c not in found]
    return found


def _known(board: Leaderboard) -> list[Shown]:
    first = board.columns[0] if board.columns and board.columns[0].protocol != PUBLISHED else None
    name = f"{first.metric.upper()}" if first else "FID"
    return [
        Shown("teacher", "teacher", lambda r: r.teacher, lambda r: {"teacher": r.teacher}, lambda r: r.teacher, words=True),
        Shown("method", "method", _method, lambda r: {"method": r.method, "variant": r.variant}, _method, words=True),
        Shown("rank", "rank", lambda r: r.rank, lambda r: {"rank": r.rank}, lambda r: _at_end(r.rank.partition("-")[0])),
        *(_metric(c) for c in board.columns),
        *(_about(first, name) if first else []),
        Shown(
            "seeds", "seeds", lambda r: NONE if r.published else str(r.seeds), lambda r: {"seeds": r.seeds}, lambda r: -r.seeds
        ),
        Shown("nfe", "NFE", lambda r: str(r.nfe), lambda r: {"nfe": r.nfe}, lambda r: r.nfe),
        Shown(
            "data-free",
            "data-free",
            lambda r: {True: "yes", False: "no", None: NONE}[r.data_free],
            lambda r: {"data_free": r.data_free},
            lambda r: {True: 0, False: 1, None: 2}[r.data_free],
        ),
        _cost("images", "images", quantity),
        _cost("updates", "updates", quantity, usual=False),
        _cost("flops", "FLOPs", quantity),
        _cost("time", "time", duration, axis="seconds"),
        Shown(
            "tuning",
            "tuning",
            lambda r: NONE if r.tuning is None else f"{r.tuning} runs",
            lambda r: {"tuning": r.tuning},
            lambda r: _at_end(r.tuning),
        ),
        Shown(
            "source",
            "source",
            lambda r: "measured" if not r.published else "published" if r.published.verified else "published, unverified",
            _source,
            lambda r: (r.published is not None, r.cite),
            words=True,
            usual=any(r.published for r in board.rows),
        ),
    ]


def _method(row: Row) -> str:
    return row.method + (f" ({row.variant})" if row.variant else "")


def _at_end(value: Any) -> tuple[bool, float]:
    """A key that puts what is missing last."""
    return (value is None or value == "", float(value or 0))


def _source(row: Row) -> dict[str, Any]:
    p = row.published
    verified, notes = (p.verified, p.notes) if p else (None, None)
    return {"source": "published" if p else "measured", "verified": verified, "cite": row.cite or None, "notes": notes}


def _metric(c: Column) -> Shown:
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
        return _as_printed(n) if c.protocol == PUBLISHED else plus_minus(n.mean, n.std)

    return Shown(
        c.key,
        f"{c.metric.upper()} {ARROWS[c.direction]} ({c.label})",
        text,
        values,
        lambda row: _at_end((1 if c.direction == "lower" else -1) * row.numbers[c].mean if c in row.numbers else None),
        number=lambda row: row.numbers.get(c),
    )


def _as_printed(number: Number) -> str:
    """A published number with as many decimals as it was published with, two at least."""
    decimals = max(2, len(f"{number.mean}".partition(".")[2]))
    return f"{number.mean:.{decimals}f}" + (f" ± {number.std}" if number.std is not None else "")


def _about(c: Column, name: str) -> list[Shown]:
    """What can be asked of the ranking metric beside its mean."""

    def of(row: Row, attribute: str) -> float | None:
        number = row.numbers.get(c)
        value: float | None = getattr(number, attribute) if number else None
        return value

    def interval(row: Row) -> str:
        half, mean = of(row, "interval"), of(row, "mean")
        return NONE if half is None or mean is None else f"[{mean - half:.2f}, {mean + half:.2f}]"

    def told(kind: str, title: str, note: str, text: Callable[[Row], str] | None = None) -> Shown:
        attribute = kind.replace("-", "_")
        return Shown(
            kind,
            f"{name} {title}",
            text or (lambda r: NONE if (value := of(r, attribute)) is None else plus_minus(value, None)),
            lambda r: {f"{c.key}_{attribute}": of(r, attribute)},
            lambda r: _at_end(of(r, attribute)),
            note=note,
            usual=False,
        )

    return [
        told("interval", "95 % interval", "interval: Student's, of the mean over training seeds.", interval),
        told(
            "evaluation-noise",
            "evaluation noise",
            "evaluation noise: standard deviation of one replicate of images of the same network.",
        ),
        told(
            "training-noise",
            "training noise",
            "training noise: standard deviation over training seeds without what evaluation adds to it.",
        ),
        told(
            "tied",
            "tied with best",
            "",
            lambda r: {None: NONE, True: "yes", False: "no"}[None if c not in r.numbers else r.numbers[c].tied],
        ),
        Shown(
            "area",
            f"area under ln {name}",
            lambda r: plus_minus(r.area.mean, r.area.std) if r.area else NONE,
            lambda r: {"area": r.area.mean if r.area else None, "area_std": r.area.std if r.area else None},
            lambda r: _at_end(r.area.mean if r.area else None),
            note=f"area: mean of ln {name} over ln FLOPs from the first evaluation after zero to the last, by trapezoids; it "
            "compares rows of one budget.",
            usual=False,
        ),
        *(_target(factor, name) for factor in TARGETS),
    ]


def _target(factor: float, name: str) -> Shown:
    def of(row: Row) -> Reach | None:
        return dict(row.reached).get(factor)

    def text(row: Row) -> str:
        found = of(row)
        if found is None:
            return NONE
        some = f" ({found.reached}/{found.runs})" if found.reached < found.runs else ""
        return (f"> {quantity(found.spent)}" if found.cost is None else quantity(found.cost)) + some

    def values(row: Row) -> dict[str, Any]:
        found, key = of(row), f"flops_to_{factor:g}x"
        return {
            key: found.cost if found else None,
            f"{key}_reached": found.reached if found else None,
            f"{key}_of": found.runs if found else None,
            f"{key}_spent": found.spent if found else None,
        }

    def order(row: Row) -> tuple[bool, float]:
        found = of(row)
        if found is None:
            return (True, 0.0)
        return (found.cost is None, found.spent if found.cost is None else found.cost)

    return Shown(
        f"to-{factor:g}x",
        f"FLOPs to {factor:g}x teacher",
        text,
        values,
        order,
        note=f"FLOPs to a multiple of the teacher's own {name}: median over seeds, by lines between evaluation points on log-log "
        "axes; (k/n): k of n runs reached it; >: too few for a median, which is more than what the others spent.",
        usual=False,
    )


def _cost(name: str, title: str, say: Callable[[float], str], axis: str = "", usual: bool = True) -> Shown:
    axis = axis or name
    return Shown(
        name,
        title,
        lambda r: say(getattr(r, axis)) if r.updates or (r.published and getattr(r, axis)) else NONE,
        lambda r: {axis: None if r.published and not getattr(r, axis) else getattr(r, axis)},
        lambda r: _at_end(getattr(r, axis) or None),
        usual=usual,
    )
