"""A sheet as a Markdown table of GitHub's kind."""

import re
from collections.abc import Iterable

from bench.render.tables.sheet import Cell, Sheet, superscript

_STYLES = {"plain": "%s", "best": "**%s**", "second": "<u>%s</u>", "published": "*%s*"}


def markdown(sheet: Sheet) -> str:
    """Return a table with the best bold, the second underlined and published rows in italics.

    Footnotes are a list below.
    """
    rule = _line("---" if words else "---:" for words in sheet.words)
    rows = [_line(map(_cell, row)) for section in sheet.sections for row in section.rows]
    notes = [
        "- " + (f"{superscript(mark)} " if mark else "") + escaped(note) for mark, note in sheet.notes
    ]
    head = _line(map(escaped, sheet.titles))
    return "\n".join([head, rule, *rows, *(["", *notes] if notes else [])])


def escaped(text: str) -> str:
    """Escape text so that Markdown shows it as it is."""
    text = re.sub(r"([\\`*\[\]|$~])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word it means nothing
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def _cell(cell: Cell) -> str:
    return _STYLES[cell.style] % escaped(cell.text) + superscript(*cell.marks)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
