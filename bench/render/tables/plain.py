"""A sheet as lines of a terminal."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells

from bench.render.tables.sheet import Cell, Sheet

_WIDEST = 48
"""Cells of words are folded here; a number is never cut, however narrow the terminal."""


def plain(sheet: Sheet) -> str:
    """Titles on two lines to save room, an empty line between teachers, the footnotes below."""
    titles = [title.partition(" (")[0] for title in sheet.titles], [title.partition(" (")[2] for title in sheet.titles]
    head = [[top if not below else f"{top}\n({below}"] for top, below in zip(*titles, strict=True)]
    body = [
        [[_folded(cell, words) for cell, words in zip(row, sheet.words, strict=True)] for row in s.rows] for s in sheet.sections
    ]
    lines = [[cell[0].split("\n") for cell in head], *(row for section in body for row in section)]
    widths = [max(max(map(cell_len, row[i]), default=0) for row in lines) for i in range(len(sheet.titles))]
    text = _row(lines[0], widths, sheet.words)
    for i, (section, rows) in enumerate(zip(sheet.sections, body, strict=True)):
        text += [""] * bool(i or section.title) + [section.title] * bool(section.title)
        text += [line for row in rows for line in _row(row, widths, sheet.words)]
    notes = [f"{mark} {sentence}".strip() for mark, sentence in sheet.notes]
    return "\n".join([*text, *(["", *notes] if notes else [])])


def _folded(cell: Cell, words: bool) -> list[str]:
    letters = ",".join(mark for mark in cell.marks if mark.isalpha())
    signs = "".join(mark for mark in cell.marks if not mark.isalpha())
    text = cell.text + signs + (f" [{letters}]" if letters else "")
    if not words or cell_len(text) <= _WIDEST:
        return [text]
    lines = [""]
    for word in (piece for long in text.split(" ") for piece in chop_cells(long, _WIDEST)):
        if cell_len(lines[-1]) + 1 + cell_len(word) <= _WIDEST:
            lines[-1] = f"{lines[-1]} {word}".strip()
        else:
            lines.append(word)
    return lines


def _row(cells: list[list[str]], widths: list[int], words: list[bool]) -> list[str]:
    """A row of cells that may each take several lines."""
    lines = []
    for k in range(max(map(len, cells))):
        parts = [(cell[k] if k < len(cell) else "") for cell in cells]
        spaces = [" " * (width - cell_len(part)) for part, width in zip(parts, widths, strict=True)]
        padded = (part + space if left else space + part for part, space, left in zip(parts, spaces, words, strict=True))
        lines.append("  ".join(padded).rstrip())
    return lines
