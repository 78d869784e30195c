"""Who is cited by a table, and the BibTeX file beside it.

Entries are of the methods' own cards, and of the sources of published numbers. No method is imported for
it.
"""

import re
from dataclasses import replace

from bench import registry
from bench.errors import BenchError
from bench.ranking.published import Paper, published
from bench.ranking.rows import Leaderboard
from bench.render.tables.latex import escaped
from bench.runs.card import read_card


def cited(board: Leaderboard) -> Leaderboard:
    """Return the board with the BibTeX key of each method that has one."""
    methods = {row.method for row in board.rows if not row.published}
    keys = {method: _key(_entry(method)) for method in methods}
    rows = [replace(row, cite=row.cite or keys.get(row.method, "")) for row in board.rows]
    return replace(board, rows=rows)


def uncited(board: Leaderboard) -> list[str]:
    """Return the methods of a board for which no BibTeX entry is known."""
    return sorted({row.method for row in board.rows if not row.cite})


def bibliography(board: Leaderboard) -> str:
    """Return the BibTeX entries that a board cites, each once, by their keys.

    A method's own card is preferred to the survey of published numbers, which has family names alone.
    """
    keys = {row.cite for row in board.rows if row.cite}
    cards = (_entry(method) for method in registry.methods.entries())
    entries = {key: entry for entry in cards if (key := _key(entry)) in keys}
    for key in keys - set(entries):
        entries[key] = bibtex(key, published().sources[key])
    return "\n\n".join(entry.strip() for _, entry in sorted(entries.items()))


def bibtex(key: str, paper: Paper) -> str:
    """Return the BibTeX entry of a paper: in proceedings, or ``misc`` for a preprint or a page."""
    checked = paper.arxiv is not None and paper.arxiv_checked
    fields: dict[str, str | int | None] = {
        "title": "{" + escaped(paper.title) + "}",  # capitals are kept
        "author": paper.author,
        "key": None if paper.author else paper.title.partition(":")[0],  # by which styles sort
        "booktitle": escaped(paper.venue or ""),
        "year": paper.year,
        "eprint": paper.arxiv if checked else None,
        "archiveprefix": "arXiv" if checked else None,
        "url": paper.url,
    }
    inside = ",\n".join(f"  {name:<13} = {{{value}}}" for name, value in fields.items() if value)
    return f"@{'inproceedings' if paper.venue else 'misc'}{{{key},\n{inside}\n}}"


def _entry(method: str) -> str:
    """Return a method's BibTeX entry from the YAML card beside its module.

    Returns the empty string for a method without one.
    """
    entry = registry.methods.entries().get(method)
    file = entry.source_file() if entry else None
    try:
        return read_card(file.with_suffix(".yaml")).bibtex if file else ""
    except BenchError:
        return ""  # whoever runs the method is told


def _key(entry: str) -> str:
    r"""Return the key of a BibTeX entry, by which ``\cite`` names it; the empty string if it has none."""
    match = re.match(r"\s*@\w+\s*\{\s*([^\s,]+)\s*,", entry)
    return match[1] if match else ""
