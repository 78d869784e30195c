"""Samples of each method beside the teacher's, all from the same noise."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.ranking.curves import Comparison, Line
from bench.render.figures.axes import INK, bare, corner
from bench.render.figures.paper import WIDTHS, Drawing, printable
from bench.runs.folder import RunFolder
from bench.units import plus_minus

Square = tuple[str, Any]
"""The words above a picture, and the picture."""
_PER_ROW = {"column": (3, 3), "page": (3, 6)}
"""By width of the figure, the least and the largest number of squares in a row."""
_LETTER, _LINE, _GAP = 0.055, 0.115, 0.08
"""Inches: the width of a letter, the height of a line of words, and the gap between two things."""


def side_by_side(
    comparisons: Sequence[Comparison],
    results: Path,
    width: str,
    across: int,
) -> Drawing | None:
    """Draw a square of ``across`` x ``across`` images for each method and its teacher.

    ``results`` is the folder of the runs. Returns None if none has a picture. To be called within
    ``paper_style``.
    """
    runs: list[tuple[Comparison, list[tuple[Line, Path]]]] = []
    notes = []
    for comparison in comparisons:
        grids = [
            (line, _last_grid(line, results)) for line in (*comparison.references, *comparison.lines)
        ]
        notes += [
            f"{line.runs[0].run_id} has no picture of its samples and is left out."
            for line, file in grids
            if not file.is_file()
        ]
        if grids := [(line, file) for line, file in grids if file.is_file()]:
            runs.append((comparison, grids))
    if not runs:
        return None
    least, most = _PER_ROW[width]
    per_row = min(most, max(least, *(len(grids) for _, grids in runs)))
    side = (WIDTHS[width] - _GAP) / per_row - _GAP
    blocks = []
    for comparison, grids in runs:
        title = printable(f"{comparison.title}, {comparison.column.title}")
        squares = [
            (_words(line, comparison, int(side / _LETTER)), corner(file, line.runs[0], across))
            for line, file in grids
        ]
        rows = [squares[i : i + per_row] for i in range(0, len(squares), per_row)]
        blocks.append((textwrap.fill(title, int(WIDTHS[width] / _LETTER)), rows))
    return Drawing(
        _laid_out(blocks, WIDTHS[width], side),
        "Samples of each method from the same noise, by its run of the smallest seed; "
        "its number is of that run.",
        notes,
    )


def _laid_out(blocks: Sequence[tuple[str, list[list[Square]]]], width: float, side: float) -> Figure:
    """Lay out blocks of a title and rows of squares with their words above them.

    Everything is placed to the inch, so that nothing overlaps.
    """
    spots: list[tuple[str, Any, float, float]] = []
    y = 0.0
    for title, rows in blocks:
        y += _GAP + _height(title)
        spots.append((title, None, _GAP, y))
        for row in rows:
            y += _GAP + max(_height(words) for words, _ in row)
            spots += [
                (words, picture, _GAP + i * (side + _GAP), y) for i, (words, picture) in enumerate(row)
            ]
            y += side
        y += _GAP
    figure = Figure(figsize=(width, y))
    figure.set_layout_engine("none")
    for words, picture, left, top in spots:
        size = 7 if picture is None else 6.5
        figure.text(left / width, 1 - (top - 0.03) / y, words, fontsize=size, color=INK, va="bottom")
        if picture is not None:
            axes = figure.add_axes((left / width, 1 - (top + side) / y, side / width, side / y))
            axes.imshow(picture, interpolation="nearest")
            bare(axes)
    return figure


def _height(words: str) -> float:
    return _LINE * (words.count("\n") + 1)


def _last_grid(line: Line, results: Path) -> Path:
    run = line.runs[0]
    return RunFolder(results / run.run_id).grid(run.evaluations[-1].images)


def _words(line: Line, comparison: Comparison, letters: int) -> str:
    metric = comparison.column.metric
    name = "teacher" if line.method == "teacher" else comparison.name(line)
    number = f"NFE {line.nfe}, {metric.upper()} {plus_minus(line.runs[0].final[metric], None)}"
    return "\n".join(textwrap.fill(printable(words), letters) for words in (name, number))
