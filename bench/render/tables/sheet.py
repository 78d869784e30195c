"""A leaderboard as titles, cells and footnotes, from which every format for people is written."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from bench.ranking.published import PUBLISHED
from bench.ranking.rows import Leaderboard, Row
from bench.ranking.success import LOST
from bench.render.tables.column import NONE, TableColumn
from bench.render.tables.columns import columns

TIED = "†"
Style = Literal["plain", "best", "second", "published"]
"""How a cell stands out: the best and the second best number of a column, and all of a published row."""


@dataclass(frozen=True)
class Cell:
    """The text of a cell, its style, the marks of its footnotes, and the BibTeX key that it cites."""

    text: str
    style: Style = "plain"
    marks: tuple[str, ...] = ()
    cite: str = ""


@dataclass(frozen=True)
class Section:
    """Rows that belong together: one teacher's, measured or published.

    ``title`` is empty where nothing needs saying.
    """

    title: str
    published: bool
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Sheet:
    """A table as its formats show it.

    ``words`` tells for each column whether it holds words, and ``notes`` are pairs of a mark, which may
    be empty, and a sentence.
    """

    titles: list[str]
    words: list[bool]
    sections: list[Section] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def sheet(board: Leaderboard, names: Sequence[str]) -> Sheet:
    """Return the board as a sheet of the columns asked for."""
    shown = columns(board, names)
    footnotes = dict.fromkeys(sentence for row in board.rows for sentence in _footnotes(row))
    letters = {sentence: _letter(i) for i, sentence in enumerate(footnotes)}
    sections = []
    for (teacher, published), rows in itertools.groupby(board.rows, attrgetter("section")):
        title = f"published for the data set of {teacher}, not measured here and not ranked"
        cells = [[_cell(c, row, letters) for c in shown] for row in rows]
        sections.append(Section(title if published else "", published, cells))
    any_tied = any(number.tied for c in shown for row in board.rows if (number := c.number(row)))
    notes = [(TIED, "no row is better beyond chance.")] if any_tied else []
    notes += [(letter, sentence) for sentence, letter in letters.items()]
    notes += [("", sentence) for sentence in _general(board, shown)]
    return Sheet([_on_one_line(c.title) for c in shown], [c.words for c in shown], sections, notes)


def _cell(column: TableColumn, row: Row, letters: dict[str, str]) -> Cell:
    """Return the cell of a row; its method has the ``letters`` of the footnotes on the row."""
    text, number = _on_one_line(column.text(row)), column.number(row)
    style: Style = "published" if row.published and text != NONE else "plain"
    if column.name == "method":
        marks = sorted((letters[note] for note in _footnotes(row)), key=lambda x: (len(x), x))
        return Cell(text, style, tuple(marks), row.cite)
    if number is not None and (number.best or number.second):
        style = "best" if number.best else "second"
    return Cell(text, style, (TIED,) if number is not None and number.tied else ())


def _on_one_line(text: str) -> str:
    """Remove line breaks, and control characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def superscript(*marks: str) -> str:
    """Write the marks of footnotes in HTML, which Markdown takes too; none give the empty string."""
    return f"<sup>{','.join(marks)}</sup>" if marks else ""


def _footnotes(row: Row) -> list[str]:
    """Return sentences that tell a published number from its neighbours; none for a measured row."""
    if (p := row.published) is None:
        return []
    notes = {
        "unverified: not seen in the paper, its repository, or a second paper.": not p.verified,
        f"the {p.selection} evaluations of 50,000 images.": p.selection,
        "measured against ADM's VIRTUAL batch, another reference than EDM's.": p.reference == "virtual",
        "its discriminator uses features pretrained on ImageNet, "
        "which FID's own network shares.": p.pretrained_features,
        f"starts from {p.teacher}.": p.teacher and p.teacher != row.teacher,
        "starts from no network of EDM, or it is not known which.": p.teacher is None,
        "a reproduction by others than its authors.": p.kind == "reproduction",
    }
    return [sentence for sentence, holds in notes.items() if holds]


def _general(board: Leaderboard, shown: Sequence[TableColumn]) -> list[str]:
    """Return sentences on the whole table: the meaning of ±, which columns do not compare, and what the
    columns say of themselves.
    """
    notes = []
    # published ones have no seeds
    numbers = [n for c in shown for row in board.rows if (n := c.number(row))]
    if any(n.seeds == 1 and n.std is not None for n in numbers):
        notes.append(
            "± is over training seeds; of a single seed or a teacher, over evaluation replicates."
        )
    names = {c.name for c in shown}
    if "seeds" in names and any(row.lost for row in board.rows):
        notes.append(
            f"seeds k/n: k of n ended within {LOST:g} times the best seed of their row; the others were "
            "lost, or diverged, which leaves a row without rank."
        )
    if "rank" in names:
        notes += _told_apart(board)
    measured = [c for c in board.columns if c.protocol != PUBLISHED and c.key in names]
    for metric in dict.fromkeys(c.metric for c in measured):
        labels = [c.label for c in measured if c.metric == metric]
        if len(labels) > 1:
            notes.append(
                f"{metric.upper()} was measured under {' and '.join(labels)}: "
                "these columns do not compare."
            )
    if any("-min" in c.metric for c in measured):
        notes.append("MIN: the smallest of the replicates, as the papers of this protocol quote it.")
    if any(c.protocol == PUBLISHED and c.key in names for c in board.columns):
        notes.append(
            "published: as their authors report it, under their own protocols; they take no part in ranks."
        )
    return [*notes, *dict.fromkeys(c.note for c in shown if c.note)]


def _told_apart(board: Leaderboard) -> list[str]:
    """Return sentences on what ranks say, and on the differences that a table like this one finds."""
    if not board.resolutions:
        return []
    several = len(board.resolutions) > 1
    found = [
        f"{f'{r.teacher}: ' if several else ''}two rows of {r.seeds} seeds and typical scatter are told "
        f"apart four times in five if their {r.column.metric.upper()} differs by "
        + (f"{100 * r.gap:.2g} %." if r.relative else f"{r.gap:.2g}.")
        for r in board.resolutions
    ]
    if not all(r.evaluation_known for r in board.resolutions):
        found.append(
            "the noise of the evaluation is not known from one replicate, and not in the ranks."
        )
    return [
        "rank: the places that seeds and evaluation leave open, so that in 95 % of tables all of them "
        "are right (Welch's tests, variances shrunk to the pool, Holm's correction).",
        *found,
    ]


def _letter(i: int) -> str:
    return ("" if i < 26 else _letter(i // 26 - 1)) + "abcdefghijklmnopqrstuvwxyz"[i % 26]
