"""A sheet as a Markdown table of GitHub's kind."""

from __future__ import annotations

import re

from bench.render.tables.columns import NONE
from bench.render.tables.sheet import Cell, Sheet


def markdown(sheet: Sheet) -> str:
    """Return a table with the best bold, the second underlined and published rows in italics.

    Footnotes are a list below.
    """
    rule = _line(["---" if words else "---:" for words in sheet.words])
    rows = [_line([_cell(cell, section.published) for cell in row]) for section in sheet.sections for row in section.rows]
    notes = ["- " + (f"{_marks(mark)} " if mark else "") + escaped(note) for mark, note in sheet.notes]
    head = _line([escaped(title) for title in sheet.titles])
    return "\n".join([head, rule, *rows, *(["", *notes] if notes else [])])


def escaped(text: str) -> str:
    """Escape text so that Markdown shows it as it is."""
    text = re.sub(r"([\\`*\[\]|$~])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word it means nothing
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def _cell(cell: Cell, published: bool) -> str:
    text = escaped(cell.text)
    if cell.best:
        text = f"**{text}**"
    elif cell.second:
        text = f"<u>{text}</u>"
    elif published and cell.text != NONE:
        text = f"*{text}*"
    return text + _marks(*cell.marks)


def _marks(*marks: str) -> str:
    return f"<sup>{','.join(marks)}</sup>" if marks else ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
