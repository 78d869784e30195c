"""Samples of each method beside the teacher's, all from the same noise."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.leaderboard.curves import Line, Panel
from bench.render.figures.axes import INK, bare, corner
from bench.render.figures.paper import WIDTHS, Drawing, printable, quality
from bench.units import plus_minus

_PER_ROW = {"column": (3, 3), "page": (3, 6)}
"""Squares, at least and at most."""
_LETTER, _LINE, _GAP = 0.055, 0.115, 0.08
"""Inches that a letter takes in width, a line of words in height, and what stands between two things."""


def side_by_side(panels: Sequence[Panel], results: Path, width: str, across: int) -> Drawing | None:
    """A square of ``across`` x ``across`` images for each method, or None if there are none at all; within ``paper_style``."""
    runs: list[tuple[Panel, list[tuple[Line, Path]]]] = []
    notes = []
    for panel in panels:
        grids = [(line, _last_grid(line, results)) for line in (*panel.references, *panel.lines)]
        notes += [f"{line.runs[0].run_id} has no picture of its samples and is left out." for line, f in grids if not f.is_file()]
        if grids := [(line, file) for line, file in grids if file.is_file()]:
            runs.append((panel, grids))
    if not runs:
        return None
    least, most = _PER_ROW[width]
    per_row = min(most, max(least, *(len(grids) for _, grids in runs)))
    side = (WIDTHS[width] - _GAP) / per_row - _GAP
    blocks = []
    for panel, grids in runs:
        title = textwrap.fill(printable(f"{panel.title}, {quality(panel.column)}"), int(WIDTHS[width] / _LETTER))
        words = [_words(line, panel, int(side / _LETTER)) for line, _ in grids]
        pictures = [_picture(line, file, across) for line, file in grids]
        squares = list(zip(words, pictures, strict=True))
        blocks.append((title, [squares[i : i + per_row] for i in range(0, len(squares), per_row)]))
    figure = _laid_out(blocks, WIDTHS[width], side)
    caption = "Samples of each method from the same noise, by its run of the smallest seed; its number is of that run."
    return Drawing(figure, caption, notes)


def _laid_out(blocks: Sequence[tuple[str, list[list[tuple[str, Any]]]]], width: float, side: float) -> Figure:
    """Each block a title and rows of squares with their words above them; everything to the inch, so that nothing overlaps."""
    spots: list[tuple[str, Any, float, float]] = []
    y = 0.0
    for title, rows in blocks:
        y += _GAP + _height(title)
        spots.append((title, None, _GAP, y))
        for row in rows:
            y += _GAP + max(_height(words) for words, _ in row)
            spots += [(words, picture, _GAP + i * (side + _GAP), y) for i, (words, picture) in enumerate(row)]
            y += side
        y += _GAP
    figure = Figure(figsize=(width, y))
    figure.set_layout_engine("none")
    for words, picture, left, top in spots:
        is_title = picture is None
        figure.text(left / width, 1 - (top - 0.03) / y, words, fontsize=7 if is_title else 6.5, color=INK, va="bottom")
        if not is_title:
            axes = figure.add_axes((left / width, 1 - (top + side) / y, side / width, side / y))
            axes.imshow(picture, interpolation="nearest")
            bare(axes)
    return figure


def _height(words: str) -> float:
    return _LINE * (words.count("\n") + 1)


def _last_grid(line: Line, results: Path) -> Path:
    run = line.runs[0]
    return results / run.run_id / "samples" / f"{run.evaluations[-1].images:012d}.png"


def _picture(line: Line, file: Path, across: int) -> Any:
    """Points of the plane have one picture that is not cut."""
    return corner(file, across if line.runs[0].images.get("resolution", 0) > 1 else None)


def _words(line: Line, panel: Panel, letters: int) -> str:
    metric = panel.column.metric
    name = "teacher" if line.method == "teacher" else panel.name(line)
    number = f"NFE {line.nfe}, {metric.upper()} {plus_minus(line.runs[0].final[metric], None)}"
    return "\n".join(textwrap.fill(printable(words), letters) for words in (name, number))
