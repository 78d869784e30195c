"""The figures of a comparison: a metric along the runs, against the NFE, and against the whole cost."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.leaderboard.curves import Line, Panel, Point
from bench.render.figures.axes import INK, MUTED, log_ticks, plain
from bench.render.figures.paper import WIDTHS, Drawing, legend_below, looks, printable, quality
from bench.units import quantity

Styles = dict[str, dict[str, Any]]
"""How each line looks, by its label: the same in all panels."""

_X_LABELS = {
    "images": "images generated for the generator's updates",
    "flops": "FLOPs of training",
    "seconds": "seconds of training",
}
_NFE = "NFE, evaluations of the network for an image"
_LETTER = 0.06
"""Inches that a letter takes, on average and at most."""
_LONGEST = {"column": 22, "page": 32}
"""Letters in a line of the legend."""
_SPOT: dict[str, Any] = {"linestyle": "none", "markersize": 5}
_BAR: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 6, "markeredgewidth": 0.8}
_SAMPLERS = ("--", ":", "-.", "-")
_ASIDE = 1.03
"""Between neighbours of one NFE, which would hide each other."""


def draw(kind: str, panels: Sequence[Panel], axis: str, width: str) -> Drawing | None:
    """The figure of kind ``curves``, ``nfe`` or ``cost``, or None if there is nothing to show; within ``paper_style``.

    Curves and cost are drawn against ``axis``; ``width`` is one of ``WIDTHS``.
    """
    shown = [p for p in panels if _has_something(p, kind, axis)]
    if not shown:
        return None
    x_label = _NFE if kind == "nfe" else _X_LABELS[axis]
    styles = _styles(kind, shown)
    across = 2 if width == "page" and len(shown) > 1 else 1
    down = math.ceil(len(shown) / across)
    height = down * (3.4 if width == "page" and across == 1 else 2.6)
    figure = Figure(figsize=(WIDTHS[width], height))
    places = list(figure.subplots(down, across, squeeze=False).flat)
    letters = int(WIDTHS[width] / across / _LETTER)
    logs = [_is_log(panel, kind) for panel in shown]
    for axes, panel, log in zip(places, shown, logs, strict=False):
        if kind == "nfe":
            _nfe(axes, panel, styles, log)
        else:
            (_curves if kind == "curves" else _cost)(axes, panel, axis, styles, log)
        _finish(axes, panel, x_label, log, letters)
    for axes in places[len(shown) :]:
        axes.remove()
    handles, labels = _legend(kind, shown, styles)
    if handles:
        height += legend_below(figure, handles, [textwrap.fill(label, _LONGEST[width]) for label in labels])
        figure.set_figheight(height)
    return Drawing(figure, _caption(kind, shown, x_label, logs))


def _styles(kind: str, panels: Sequence[Panel]) -> Styles:
    """The trained ones in the order of their names, and for the figure over NFE the teacher's samplers."""
    labels = sorted({_label(line, panel) for panel in panels for line in panel.lines})
    styles = {label: looks(i) for i, label in enumerate(labels)}
    if kind == "nfe":
        samplers = sorted({_sampler(line) for panel in panels for line in panel.teachers})
        look = {"color": INK, "marker": "o", "markersize": 2.5, "linewidth": 0.9}
        styles |= {sampler: look | {"linestyle": _SAMPLERS[i % 4]} for i, sampler in enumerate(samplers)}
    return styles


def _has_something(panel: Panel, kind: str, axis: str) -> bool:
    if kind == "curves":
        return any(line.curve(axis, panel.column.metric) for line in panel.lines)
    return bool(panel.lines or (kind == "nfe" and panel.teachers))


def _curves(axes: Axes, panel: Panel, axis: str, styles: Styles, log: bool) -> None:
    """A line and a band for each method."""
    for line in panel.lines:
        label = _label(line, panel)
        points = line.curve(axis, panel.column.metric)
        x, y = [_mean(p.x, True) for p in points], [_mean(p.y, log) for p in points]
        axes.plot(x, y, label=label, **styles[label])
        colour = styles[label]["color"]
        if len(points) == 1:  # a band would have no width
            axes.plot(x * 2, [min(points[0].y), max(points[0].y)], color=colour, linewidth=0.8)
        elif len(line.runs) > 1:
            low, high = [min(p.y) for p in points], [max(p.y) for p in points]
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    _teacher_lines(axes, panel)


def _cost(axes: Axes, panel: Panel, axis: str, styles: Styles, log: bool) -> None:
    """A point for each method, where its runs ended."""
    for line in panel.lines:
        _spot(axes, line.end(axis, panel.column.metric), _label(line, panel), styles, log)
    _teacher_lines(axes, panel)


def _nfe(axes: Axes, panel: Panel, styles: Styles, log: bool) -> None:
    """A point for each method, and the teacher at all the steps that were measured as a line for each of its samplers."""
    metric = panel.column.metric
    samplers: dict[str, list[tuple[int, float]]] = {}
    for line in panel.teachers:
        samplers.setdefault(_sampler(line), []).append((line.nfe, _mean(line.final(metric), log)))
    for sampler, points in samplers.items():
        x, y = zip(*sorted(points), strict=True)
        axes.plot(x, y, label=sampler, **styles[sampler])
    for nfe in {line.nfe for line in panel.lines}:
        same = [line for line in panel.lines if line.nfe == nfe]
        for i, line in enumerate(same):
            aside = nfe * _ASIDE ** (i - (len(same) - 1) / 2)
            final = line.final(metric)
            _spot(axes, Point((aside,) * len(final), final), _label(line, panel), styles, log)


def _spot(axes: Axes, point: Point, label: str, styles: Styles, log: bool) -> None:
    """One point, and the range of its seeds in both directions."""
    x, y = _mean(point.x, True), _mean(point.y, log)
    colour = styles[label]["color"]
    axes.plot([x, x], [min(point.y), max(point.y)], color=colour, linewidth=0.8)
    axes.plot([min(point.x), max(point.x)], [y, y], color=colour, linewidth=0.8)
    axes.plot([x], [y], label=label, **(styles[label] | _SPOT))


def _teacher_lines(axes: Axes, panel: Panel) -> None:
    """A dashed line at the teacher's own number, which says its NFE."""
    references = panel.references
    for line in references:
        value = line.runs[0].final[panel.column.metric]
        words = line.words if len(references) > 1 else ()
        label = printable(", ".join(["teacher", *words, f"NFE {line.nfe}"]))
        axes.axhline(value, color=INK, linestyle="--", linewidth=0.9, label=label, zorder=1.5)
        _say(axes, label, (0.01, value), xycoords=axes.get_yaxis_transform())


def _say(axes: Axes, text: str, place: tuple[float, float], **options: Any) -> None:
    axes.annotate(text, place, xytext=(0, 2), textcoords="offset points", fontsize=6, color=INK, **options)


def _finish(axes: Axes, panel: Panel, x_label: str, log: bool, letters: int) -> None:
    """Scales, ticks, grid and words, once everything is drawn."""
    axes.set_xscale("log")
    axes.set_yscale("log" if log else "linear")
    axes.margins(x=0.05, y=0.1)
    (left, bottom), (right, top) = axes.dataLim.get_points()
    if right / left < 2:  # all near one cost, as under one budget
        axes.set_xlim(left / 2, right * 2)
    if log and top / bottom < 1.5:
        axes.set_ylim(bottom / 1.5, top * 1.5)
    log_ticks(axes.xaxis, *axes.get_xlim(), lambda value, _: quantity(value))
    if log:
        log_ticks(axes.yaxis, *axes.get_ylim())
    plain(axes)
    axes.set_xlabel(x_label)
    axes.set_ylabel(quality(panel.column))
    axes.set_title(textwrap.fill(printable(panel.title), letters), loc="left", color=INK)


def _legend(kind: str, panels: Sequence[Panel], styles: Styles) -> tuple[list[Artist], list[str]]:
    """A handle and a label for every line, and for the range of the seeds."""
    spot: dict[str, Any] = {} if kind == "curves" else _SPOT
    samplers = {_sampler(line) for panel in panels for line in panel.teachers}
    handles: list[Artist] = []
    for label, style in styles.items():
        look: dict[str, Any] = style if label in samplers else style | spot
        handles.append(Line2D([], [], **look))
    labels = list(styles)
    seeds = {len(line.runs) for panel in panels for line in panel.lines}
    if seeds and max(seeds) > 1:
        band = kind == "curves"
        handles.append(Patch(color=MUTED, alpha=0.35, linewidth=0) if band else Line2D([], [], color=MUTED, **_BAR))
        labels.append(f"range of {_from_to(seeds)} seeds")
    return handles, labels


def _label(line: Line, panel: Panel) -> str:
    """A line in the legend; one step is what goes without saying."""
    return printable(panel.name(line) + (f", NFE {line.nfe}" if line.nfe != 1 else ""))


def _sampler(line: Line) -> str:
    """How the teacher was sampled, whatever the number of steps."""
    return printable(", ".join(["teacher", *(w for w in line.words if not w.startswith("steps="))]))


def _is_log(panel: Panel, kind: str) -> bool:
    """Distances shrink by factors and are drawn so, unless one is zero or below, as an unbiased estimate may be."""
    metric = panel.column.metric
    lines = [*panel.lines, *(panel.teachers if kind == "nfe" else panel.references)]
    values = [e.metrics[metric].value for line in lines for run in line.runs for e in run.evaluations if metric in e.metrics]
    return panel.column.direction == "lower" and min(values) > 0


def _mean(values: Sequence[float], log: bool) -> float:
    """The geometric mean on a logarithmic axis; of equal values that value, to the last bit."""
    if min(values) == max(values):
        return values[0]
    return statistics.geometric_mean(values) if log and min(values) > 0 else statistics.fmean(values)


def _from_to(counts: Collection[int]) -> str:
    return f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _caption(kind: str, panels: Sequence[Panel], x_label: str, logs: Collection[bool]) -> str:
    """What the figure is, in sentences that can stand below it."""
    counts = [len(line.runs) for panel in panels for line in panel.lines]
    mean = " and ".join(["geometric mean"] * (True in logs) + ["mean"] * (False in logs))
    what = "line" if kind == "curves" else "point"
    sentences = [f"{'; '.join(dict.fromkeys(quality(p.column) for p in panels))} against {x_label}."]
    if counts and max(counts) > 1:
        band = "band" if kind == "curves" else "bar"
        sentences.append(
            f"Each {what} is the {mean} of {_from_to(counts)} training seeds, its {band} from the smallest to the largest."
        )
    elif counts:
        sentences.append(f"Each {what} is a single run.")
    if kind == "curves":
        sentences.append("The last point of a line is measured on fresh evaluation seeds, the others all on the same ones.")
        sentences += _left_out(panels)
    if kind == "nfe":
        sentences.append("Points of one NFE stand side by side.")
    if kind == "nfe" and any(panel.teachers for panel in panels):
        sentences.append("Black: the teacher itself, in fewer or more steps.")
    elif any(panel.references for panel in panels):
        sentences.append("Dashed: the teacher by its own sampler.")
    return printable(" ".join(sentences))


def _left_out(panels: Sequence[Panel]) -> list[str]:
    """A generator on its way to fewer steps is not yet what is compared, and is not drawn."""
    found = {(line.method, line.nfe, tuple(line.left_out)) for panel in panels for line in panel.lines if line.left_out}
    return [
        f"{method} is drawn at its final NFE {nfe} only; its evaluations at NFE {', '.join(map(str, others))} are left out."
        for method, nfe, others in sorted(found)
    ]
