"""The figure of what more trials of settings would bring."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.ranking.searches import TuningCurve
from bench.render.figures.axes import INK, log_ticks, plain
from bench.render.figures.paper import WIDTHS, Drawing, legend_below, looks, printable
from bench.units import ARROWS, plus_minus, short_budget


def draw_tuning(curves: Sequence[TuningCurve], width: str) -> Drawing | None:
    """Draw the expected best number of k settings, a line for each method and a panel for each teacher and
    protocol. Returns None if there is nothing to show. To be called within ``paper_style``.
    """
    if not curves:
        return None
    titles = list(dict.fromkeys(curve.title for curve in curves))
    styles = {method: looks(i) for i, method in enumerate(sorted({c.method for c in curves}))}
    height = 3.0 * len(titles)
    figure = Figure(figsize=(WIDTHS[width], height))
    panels = figure.subplots(len(titles), 1, squeeze=False).flat
    for axes, title in zip(panels, titles, strict=True):
        own = [curve for curve in curves if curve.title == title]
        for curve in own:
            tried = range(1, len(curve.expected) + 1)
            axes.plot(tried, curve.expected, label=printable(curve.method), **styles[curve.method])
        first = own[0]
        log = first.direction == "lower" and min(min(curve.expected) for curve in own) > 0
        axes.set_title(printable(title), loc="left", color=INK)
        axes.set(xlabel="settings tried", yscale="log" if log else "linear")
        axes.set_ylabel(f"expected best {first.metric.upper()} {ARROWS[first.direction]}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if log:
            log_ticks(axes.yaxis, *axes.get_ylim())
        plain(axes)
    handles: list[Artist] = [Line2D([], [], **style) for style in styles.values()]
    figure.set_figheight(height + legend_below(figure, handles, [printable(name) for name in styles]))
    return Drawing(figure, _caption(curves))


def _caption(curves: Sequence[TuningCurve]) -> str:
    """Describe the figure, and say in a sentence for each method how much the second half of its trials has
    brought.
    """
    sentences = [
        "Expected best number of so many settings of a method, in the mean over every choice of them from "
        "those that were tried at one budget and seed; where a line still falls at its end, more trials "
        "would help."
    ]
    for curve in curves:
        n = len(curve.expected)
        some = sorted({1, max(n // 2, 1), n})
        words = ", ".join(f"{plus_minus(curve.expected[k - 1], None)} of {k}" for k in some)
        failed = f", {curve.failed} failed" if curve.failed else ""
        sentences.append(
            f"{curve.method} on {curve.teacher}, {curve.metric.upper()} at {short_budget(curve.budget)}: "
            f"{words} settings{failed}."
        )
    return printable(" ".join(sentences))
