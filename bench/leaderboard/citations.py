"""Who is cited by a table: the methods' own cards, and the sources of published numbers.

No method is imported for it.
"""

import re
from dataclasses import replace

from bench import registry
from bench.errors import BenchError
from bench.leaderboard.rows import Leaderboard
from bench.runs.card import read_card


def cited(board: Leaderboard) -> Leaderboard:
    """Return the board with the BibTeX key of each method that has one."""
    methods = {row.method for row in board.rows if not row.published}
    keys = {method: citation_key(bibtex_entry(method)) for method in methods}
    rows = [replace(row, cite=row.cite or keys.get(row.method, "")) for row in board.rows]
    return Leaderboard(board.columns, rows)


def uncited(board: Leaderboard) -> list[str]:
    """Return the methods of a board for which no BibTeX entry is known."""
    return sorted({row.method for row in board.rows if not row.cite})


def bibtex_entry(method: str) -> str:
    """Return a method's BibTeX entry from the YAML card beside its module.

    Returns the empty string for a method without one.
    """
    entry = registry.methods.entries().get(method)
    file = entry.source_file() if entry else None
    try:
        return read_card(file.with_suffix(".yaml")).bibtex if file else ""
    except BenchError:
        return ""  # whoever runs the method is told


def citation_key(entry: str) -> str:
    r"""Return the key of a BibTeX entry, by which ``\cite`` names it; the empty string if it has none."""
    match = re.match(r"\s*@\w+\s*\{\s*([^\s,]+)\s*,", entry)
    return match[1] if match else ""
