"""A leaderboard as titles, cells and footnotes: what every format for people shows, each in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.leaderboard.published import PUBLISHED
from bench.leaderboard.rows import Leaderboard, Row
from bench.render.tables.columns import Shown, columns

TIED = "†"


@dataclass(frozen=True)
class Cell:
    """Text, how it stands out, the marks of its footnotes, and the BibTeX key that it cites."""

    text: str
    best: bool = False
    second: bool = False
    marks: tuple[str, ...] = ()
    cite: str = ""


@dataclass(frozen=True)
class Section:
    """Rows that belong together: one teacher's, measured or published. ``title`` is empty where nothing needs saying."""

    title: str
    published: bool
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Sheet:
    """A table. ``words`` says for each column whether it is text; ``notes`` are pairs of a mark, maybe empty, and a sentence."""

    titles: list[str]
    words: list[bool]
    sections: list[Section] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def sheet(board: Leaderboard, names: Sequence[str] | None = None) -> Sheet:
    """The board as a sheet, of the columns asked for."""
    shown = columns(board, names)
    said = _footnotes(board)
    letters = {sentence: _letter(i) for i, sentence in enumerate(dict.fromkeys(s for row in said.values() for s in row))}
    sections: list[Section] = []
    last = None
    for i, row in enumerate(board.rows):
        if (row.teacher, row.published is not None) != last:
            last = (row.teacher, row.published is not None)
            title = f"published for the data set of {row.teacher}, not measured here and not ranked" if row.published else ""
            sections.append(Section(title, row.published is not None, []))
        sections[-1].rows.append(
            [_cell(c, row, tuple(sorted((letters[s] for s in said[i]), key=lambda x: (len(x), x)))) for c in shown]
        )
    notes = [(TIED, "not told from the best by Welch's test at 5 %.")] if _any_tied(board, shown) else []
    notes += [(letter, sentence) for sentence, letter in letters.items()]
    notes += [("", sentence) for sentence in [*_general(board, shown), *dict.fromkeys(c.note for c in shown if c.note)]]
    return Sheet([_on_one_line(c.title) for c in shown], [c.words for c in shown], sections, notes)


def _cell(column: Shown, row: Row, letters: tuple[str, ...]) -> Cell:
    text = _on_one_line(column.text(row))
    if column.name == "method":
        return Cell(text, marks=letters, cite=row.cite)
    number = column.number(row)
    if number is None:
        return Cell(text)
    return Cell(text, number.best, number.second, (TIED,) if number.tied else ())


def _on_one_line(text: str) -> str:
    """Without line breaks and without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _any_tied(board: Leaderboard, shown: Sequence[Shown]) -> bool:
    return any(n.tied for c in shown for row in board.rows if (n := c.number(row)))


def _footnotes(board: Leaderboard) -> dict[int, list[str]]:
    """For each row what sets its number apart from its neighbours'."""
    found: dict[int, list[str]] = {}
    for i, row in enumerate(board.rows):
        found[i] = said = []
        if (p := row.published) is None:
            continue
        if not p.verified:
            said.append("unverified: not seen in the paper, its repository, or a second paper.")
        if p.selection:
            said.append(f"the {p.selection} evaluations of 50,000 images.")
        if p.reference == "virtual":
            said.append("measured against ADM's VIRTUAL batch, another reference than EDM's.")
        if p.pretrained_features:
            said.append("its discriminator uses features pretrained on ImageNet, which FID's own network shares.")
        if p.teacher and p.teacher != row.teacher:
            said.append(f"starts from {p.teacher}.")
        if p.teacher is None:
            said.append("starts from no network of EDM, or it is not known which.")
        if p.kind == "reproduction":
            said.append("a reproduction by others than its authors.")
    return found


def _general(board: Leaderboard, shown: Sequence[Shown]) -> list[str]:
    """What holds for the whole table: what ± is, and which columns do not compare."""
    said = []
    numbers = [n for c in shown for row in board.rows if not row.published and (n := c.number(row))]
    if any(n.seeds == 1 and n.std is not None for n in numbers):
        said.append("± is over training seeds; of a single seed or a teacher, over evaluation replicates.")
    names = {c.name for c in shown}
    measured = [c for c in board.columns if c.protocol != PUBLISHED and c.key in names]
    for metric in dict.fromkeys(c.metric for c in measured):
        labels = [c.label for c in measured if c.metric == metric]
        if len(labels) > 1:
            said.append(f"{metric.upper()} was measured under {' and '.join(labels)}: these columns do not compare.")
    if any("-min" in c.metric for c in measured):
        said.append("MIN: the smallest of the replicates, as the papers of this protocol quote it.")
    if any(c.protocol == PUBLISHED and c.key in names for c in board.columns):
        said.append("published: as their authors report it, under their own protocols; they take no part in ranks.")
    return said


def _letter(i: int) -> str:
    return ("" if i < 26 else _letter(i // 26 - 1)) + "abcdefghijklmnopqrstuvwxyz"[i % 26]
