"""A sheet as lines of text for a terminal."""

import itertools

from rich.cells import cell_len, chop_cells

from bench.render.tables.sheet import Cell, Sheet

_WIDEST = 48
"""Width to which cells of words are folded; a number is never cut, however narrow the terminal."""


def plain(sheet: Sheet) -> str:
    """Return lines with titles on two of them, an empty one between teachers, and footnotes below."""
    titles = (title.partition(" (") for title in sheet.titles)
    head = [[top, f"({below}"] if below else [top] for top, _, below in titles]
    body = [[list(map(_fold, row, sheet.words)) for row in section.rows] for section in sheet.sections]
    lines = [head, *itertools.chain(*body)]
    widths = [max(max(map(cell_len, row[i]), default=0) for row in lines) for i in range(len(head))]
    text = _row(head, widths, sheet.words)
    for i, (section, rows) in enumerate(zip(sheet.sections, body, strict=True)):
        text += [""] * bool(i or section.title) + [section.title] * bool(section.title)
        text += [line for row in rows for line in _row(row, widths, sheet.words)]
    notes = [f"{mark} {sentence}".strip() for mark, sentence in sheet.notes]
    return "\n".join([*text, *(["", *notes] if notes else [])])


def _fold(cell: Cell, words: bool) -> list[str]:
    """Return the lines of a cell: its text, its signs, and the letters of its footnotes."""
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
    """Return the lines of a row, whose cells may each take several."""
    lines = []
    for parts in itertools.zip_longest(*cells, fillvalue=""):
        spaces = [" " * (width - cell_len(part)) for part, width in zip(parts, widths, strict=True)]
        triples = zip(parts, spaces, words, strict=True)
        padded = (part + space if left else space + part for part, space, left in triples)
        lines.append("  ".join(padded).rstrip())
    return lines
