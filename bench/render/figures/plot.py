"""The figures of a comparison: a metric along the runs, against the NFE, and against the cost."""

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

from bench.ranking.curves import Comparison, Line, Point
from bench.render.figures.axes import INK, MUTED, log_ticks, plain
from bench.render.figures.paper import WIDTHS, Drawing, legend_below, looks, printable
from bench.units import quantity

Styles = dict[str, dict[str, Any]]
"""The look of each line by its label: the same in all panels."""

X_LABELS = {
    "images": "images generated for the generator's updates",
    "flops": "FLOPs of training",
    "seconds": "seconds of training",
}
"""The label of each axis that curves and costs can be drawn against."""
_LETTER = 0.06
"""Width of a letter in inches, on average and at most."""
_LONGEST = {"column": 22, "page": 32}
"""Letters in a line of the legend, by the width of the figure."""
_SAMPLERS = ("--", ":", "-.", "-")
_ASIDE = 1.03
"""Factor between neighbours of one NFE, which would otherwise hide each other."""


def draw(kind: str, comparisons: Sequence[Comparison], axis: str, width: str) -> Drawing | None:
    """Draw the figure of kind ``curves``, ``nfe`` or ``cost``, with a panel for each comparison.

    Curves and cost are drawn against ``axis``; ``width`` is one of ``WIDTHS``. Returns None if there is
    nothing to show. To be called within ``paper_style``.
    """
    shown = [comparison for comparison in comparisons if _has_something(comparison, kind, axis)]
    if not shown:
        return None
    x_label = "NFE, evaluations of the network for an image" if kind == "nfe" else X_LABELS[axis]
    styles = _styles(kind, shown)
    columns = 2 if width == "page" and len(shown) > 1 else 1
    rows = math.ceil(len(shown) / columns)
    height = rows * (3.4 if width == "page" and columns == 1 else 2.6)
    figure = Figure(figsize=(WIDTHS[width], height))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    letters = int(WIDTHS[width] / columns / _LETTER)
    logs = [_is_log(comparison, kind) for comparison in shown]
    for axes, comparison, log in zip(panels, shown, logs, strict=False):
        if kind == "nfe":
            _nfe(axes, comparison, styles, log)
        else:
            (_curves if kind == "curves" else _cost)(axes, comparison, axis, styles, log)
        _finish(axes, comparison, x_label, log, letters)
    for axes in panels[len(shown) :]:
        axes.remove()
    handles, labels = _legend(kind, shown, styles)
    height += legend_below(figure, handles, [textwrap.fill(label, _LONGEST[width]) for label in labels])
    figure.set_figheight(height)
    return Drawing(figure, _caption(kind, shown, x_label, logs))


def _styles(kind: str, comparisons: Sequence[Comparison]) -> Styles:
    """Choose the look of each method, in the order of their labels: a line, or a spot over a cost.

    Only the figure over NFE shows the samplers of the teacher, which are lines.
    """
    labels = sorted(
        {_label(line, comparison) for comparison in comparisons for line in comparison.lines}
    )
    spot: dict[str, Any] = {} if kind == "curves" else {"linestyle": "none", "markersize": 5}
    styles = {label: looks(i) | spot for i, label in enumerate(labels)}
    if kind == "nfe":
        samplers = sorted({_sampler(line) for comparison in comparisons for line in comparison.teachers})
        look = {"color": INK, "marker": "o", "markersize": 2.5, "linewidth": 0.9}
        styles |= {sampler: look | {"linestyle": _SAMPLERS[i % 4]} for i, sampler in enumerate(samplers)}
    return styles


def _has_something(comparison: Comparison, kind: str, axis: str) -> bool:
    if kind == "curves":
        return any(line.curve(axis, comparison.column.metric) for line in comparison.lines)
    return bool(comparison.lines or (kind == "nfe" and comparison.teachers))


def _curves(axes: Axes, comparison: Comparison, axis: str, styles: Styles, log: bool) -> None:
    """Draw a line and a band for each method."""
    for line in comparison.lines:
        label = _label(line, comparison)
        points = line.curve(axis, comparison.column.metric)
        x, y = [_mean(p.x, True) for p in points], [_mean(p.y, log) for p in points]
        axes.plot(x, y, label=label, **styles[label])
        colour = styles[label]["color"]
        if len(points) == 1:  # a band would have no width
            axes.plot(x * 2, [min(points[0].y), max(points[0].y)], color=colour, linewidth=0.8)
        elif len(line.runs) > 1:
            low, high = [min(p.y) for p in points], [max(p.y) for p in points]
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    _teacher_lines(axes, comparison)


def _cost(axes: Axes, comparison: Comparison, axis: str, styles: Styles, log: bool) -> None:
    """Draw a point for each method, where its runs ended."""
    for line in comparison.lines:
        costs = tuple(run.cost.spent(axis) for run in line.runs)
        end = Point(costs, line.final(comparison.column.metric))
        _spot(axes, end, _label(line, comparison), styles, log)
    _teacher_lines(axes, comparison)


def _nfe(axes: Axes, comparison: Comparison, styles: Styles, log: bool) -> None:
    """Draw a point for each method, and the teacher at all its measured steps.

    The teacher has a line for each of its samplers.
    """
    metric = comparison.column.metric
    samplers: dict[str, list[tuple[int, float]]] = {}
    for line in comparison.teachers:
        samplers.setdefault(_sampler(line), []).append((line.nfe, _mean(line.final(metric), log)))
    for sampler, points in samplers.items():
        x, y = zip(*sorted(points), strict=True)
        axes.plot(x, y, label=sampler, **styles[sampler])
    for nfe in {line.nfe for line in comparison.lines}:
        same = [line for line in comparison.lines if line.nfe == nfe]
        for i, line in enumerate(same):
            aside = nfe * _ASIDE ** (i - (len(same) - 1) / 2)
            final = line.final(metric)
            _spot(axes, Point((aside,) * len(final), final), _label(line, comparison), styles, log)


def _spot(axes: Axes, point: Point, label: str, styles: Styles, log: bool) -> None:
    """Draw one point, and the range of its seeds in both directions."""
    x, y = _mean(point.x, True), _mean(point.y, log)
    colour = styles[label]["color"]
    axes.plot([x, x], [min(point.y), max(point.y)], color=colour, linewidth=0.8)
    axes.plot([min(point.x), max(point.x)], [y, y], color=colour, linewidth=0.8)
    axes.plot([x], [y], label=label, **styles[label])


def _teacher_lines(axes: Axes, comparison: Comparison) -> None:
    """Draw a dashed line at the teacher's own number, labelled with its NFE."""
    references = comparison.references
    for line in references:
        value = line.runs[0].final[comparison.column.metric]
        words = line.words if len(references) > 1 else ()
        label = printable(", ".join(["teacher", *words, f"NFE {line.nfe}"]))
        axes.axhline(value, color=INK, linestyle="--", linewidth=0.9, label=label, zorder=1.5)
        axes.annotate(
            label,
            (0.01, value),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=6,
            color=INK,
        )


def _finish(axes: Axes, comparison: Comparison, x_label: str, log: bool, letters: int) -> None:
    """Set scales, ticks, grid and words, once everything is drawn."""
    axes.set(xscale="log", yscale="log" if log else "linear")
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
    axes.set(xlabel=x_label, ylabel=printable(comparison.column.title))
    axes.set_title(textwrap.fill(printable(comparison.title), letters), loc="left", color=INK)


def _legend(
    kind: str, comparisons: Sequence[Comparison], styles: Styles
) -> tuple[list[Artist], list[str]]:
    """Return a handle and a label for every line, and for the range of the seeds."""
    handles: list[Artist] = [Line2D([], [], **style) for style in styles.values()]
    labels = list(styles)
    seeds = {len(line.runs) for comparison in comparisons for line in comparison.lines}
    if seeds and max(seeds) > 1:
        band = Patch(color=MUTED, alpha=0.35, linewidth=0)
        bar = Line2D(
            [], [], color=MUTED, linestyle="none", marker="|", markersize=6, markeredgewidth=0.8
        )
        handles.append(band if kind == "curves" else bar)
        labels.append(f"range of {_from_to(seeds)} seeds")
    return handles, labels


def _label(line: Line, comparison: Comparison) -> str:
    """Return the label of a line; that it takes one step goes without saying."""
    return printable(comparison.name(line) + (f", NFE {line.nfe}" if line.nfe != 1 else ""))


def _sampler(line: Line) -> str:
    """Name the sampler of a teacher, whatever its number of steps."""
    return printable(", ".join(["teacher", *(w for w in line.words if not w.startswith("steps="))]))


def _is_log(comparison: Comparison, kind: str) -> bool:
    """Tell whether values are drawn on a logarithmic axis.

    Distances shrink by factors and are drawn so, unless one is zero or below, as an unbiased estimate
    may be.
    """
    metric = comparison.column.metric
    lines = [*comparison.lines, *(comparison.teachers if kind == "nfe" else comparison.references)]
    evaluations = [e for line in lines for run in line.runs for e in run.evaluations]
    values = [e.metrics[metric].value for e in evaluations if metric in e.metrics]
    return comparison.column.direction == "lower" and min(values) > 0


def _mean(values: Sequence[float], log: bool) -> float:
    """Return the geometric mean for a logarithmic axis; of equal values that value, to the last bit."""
    if min(values) == max(values):
        return values[0]
    return statistics.geometric_mean(values) if log and min(values) > 0 else statistics.fmean(values)


def _from_to(counts: Collection[int]) -> str:
    return f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _caption(kind: str, comparisons: Sequence[Comparison], x_label: str, logs: Collection[bool]) -> str:
    """Describe the figure in sentences that can stand below it."""
    counts = [len(line.runs) for comparison in comparisons for line in comparison.lines]
    mean = " and ".join(["geometric mean"] * (True in logs) + ["mean"] * (False in logs))
    what = "line" if kind == "curves" else "point"
    qualities = dict.fromkeys(comparison.column.title for comparison in comparisons)
    sentences = [f"{'; '.join(qualities)} against {x_label}."]
    if counts and max(counts) > 1:
        band = "band" if kind == "curves" else "bar"
        sentences.append(
            f"Each {what} is the {mean} of {_from_to(counts)} training seeds, "
            f"its {band} from the smallest to the largest."
        )
    elif counts:
        sentences.append(f"Each {what} is a single run.")
    if kind == "curves":
        sentences.append(
            "The last point of a line is measured on fresh evaluation seeds, the others all on "
            "the same ones.",
        )
        sentences += _left_out(comparisons)
    if kind == "nfe":
        sentences.append("Points of one NFE stand side by side.")
    if kind == "nfe" and any(comparison.teachers for comparison in comparisons):
        sentences.append("Black: the teacher itself, in fewer or more steps.")
    elif any(comparison.references for comparison in comparisons):
        sentences.append("Dashed: the teacher by its own sampler.")
    return printable(" ".join(sentences))


def _left_out(comparisons: Sequence[Comparison]) -> list[str]:
    """Name the evaluations that are not drawn: of generators on their way to fewer steps."""
    lines = [line for comparison in comparisons for line in comparison.lines if line.left_out]
    left_out = {(line.method, line.nfe, tuple(line.left_out)) for line in lines}
    return [
        f"{method} is drawn at its final NFE {nfe} only; its evaluations at NFE "
        f"{', '.join(map(str, others))} are left out."
        for method, nfe, others in sorted(left_out)
    ]
