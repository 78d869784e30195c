"""The formats of a leaderboard: terminal, Markdown, LaTeX, HTML, CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from bench.errors import unknown
from bench.ranking.rows import Leaderboard
from bench.render.tables.column import NONE
from bench.render.tables.columns import columns
from bench.render.tables.html import fragment, html
from bench.render.tables.latex import latex
from bench.render.tables.markdown import markdown
from bench.render.tables.plain import plain
from bench.render.tables.sheet import sheet

_FOR_PEOPLE = {"terminal": plain, "md": markdown, "latex": latex, "html": html}
FORMATS = (*_FOR_PEOPLE, "csv", "json")
_COLUMNS = {"latex": ["paper"]}
"""The columns of a format unless others are asked for, where they are not the usual ones."""


@dataclass(frozen=True)
class Table:
    """A leaderboard that a notebook shows as a table, and a terminal as text.

    Example:
        table = bench.leaderboard()
        pathlib.Path("table.tex").write_text(table.text("latex"))
    """

    board: Leaderboard
    columns: Sequence[str] | None = None
    """Names of the columns that are shown; None is those of each format."""

    def text(self, form: str = "terminal") -> str:
        """Return the table in one of ``FORMATS``. Raises UsageError for another format, and for an
        unknown column.
        """
        if form not in FORMATS:
            raise unknown("format", form, FORMATS)
        return render(self.board, form, self.columns)

    def _repr_html_(self) -> str:
        return fragment(sheet(self.board, self.columns or ["usual"]))

    def __repr__(self) -> str:
        return self.text()


def render(board: Leaderboard, form: str, names: Sequence[str] | None = None) -> str:
    """Return the leaderboard in one of ``FORMATS``, of the columns asked for, or of those that a paper has
    room for in LaTeX and the usual ones elsewhere.

    CSV and JSON, which programs read, have all numbers at full precision.
    """
    names = names or _COLUMNS.get(form, ["usual"])
    if form in _FOR_PEOPLE:
        return _FOR_PEOPLE[form](sheet(board, names))
    shown = columns(board, names)
    rows = [dict(item for c in shown for item in c.values(row).items()) for row in board.rows]
    return _csv(rows) if form == "csv" else json.dumps(rows, indent=1, ensure_ascii=False)


def format_of(file: Path) -> str:
    """Return the format that the suffix of a file stands for. Raises UsageError for an unknown one."""
    suffix = file.suffix.lower().removeprefix(".")
    formats = {form: form for form in FORMATS}
    formats |= {"tex": "latex", "markdown": "md", "htm": "html", "txt": "terminal", "": "terminal"}
    if suffix not in formats:
        raise unknown("format of a file", suffix, formats)
    return formats[suffix]


def sorted_by(board: Leaderboard, name: str) -> Leaderboard:
    """Sort the rows by a column within each teacher, best or smallest first; ``-NAME`` reverses it.

    Rows without a value come last, and published ones after the measured ones.
    """
    down, bare = name.startswith("-"), name.removeprefix("-")
    every = columns(board, ["all"])
    if bare not in {*(c.name for c in every), *(c.metric for c in board.columns)}:
        raise unknown("column to sort by", name, [c.name for c in every])
    rows = board.rows
    for column in reversed(columns(board, [bare])):
        valued = [row for row in rows if column.text(row) != NONE]
        valued.sort(key=column.order, reverse=down)
        rows = valued + [row for row in rows if column.text(row) == NONE]
    return replace(board, rows=sorted(rows, key=attrgetter("section")))


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            # a lone carriage return is not quoted by every Python, and readers take it for the end of a row
            words = {
                key: value.replace("\r", " ") for key, value in row.items() if isinstance(value, str)
            }
            writer.writerow(row | words)
    return text.getvalue().rstrip("\n")
