"""BibTeX of what a table shows: the methods' own cards, and the sources of published numbers. Nothing is imported for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import registry
from bench.files.yaml_files import read_yaml
from bench.leaderboard.published import Paper, published
from bench.leaderboard.rows import Leaderboard

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: f"\\{c}" for c in "&%$#_{}"}


def cited(board: Leaderboard) -> Leaderboard:
    """The board with the BibTeX key of each method that has one."""
    keys = {method: key for method in {row.method for row in board.rows if not row.published} if (key := _key(_entry(method)))}
    return Leaderboard(board.columns, [replace(row, cite=row.cite or keys.get(row.method, "")) for row in board.rows])


def bibliography(board: Leaderboard) -> str:
    """The BibTeX entries that a board cites, each once; a method's own card has the word over the survey of published numbers."""
    wanted = {row.cite for row in board.rows if row.cite}
    found = {key: entry for method in registry.methods.entries() if (key := _key(entry := _entry(method))) in wanted}
    for key in wanted - set(found):
        found[key] = bibtex(key, published().sources[key])
    return "\n\n".join(entry.strip() for _, entry in sorted(found.items()))


def uncited(board: Leaderboard) -> list[str]:
    """The methods of a board for which no BibTeX entry is known."""
    return sorted({row.method for row in board.rows if not row.cite})


def bibtex(key: str, source: Paper) -> str:
    """A source as a BibTeX entry: a paper in proceedings, or a preprint or page as ``misc``."""
    lines: dict[str, Any] = {
        "title": "{" + _escaped([source.title]) + "}",  # capitals are kept
        "author": source.author,
        "key": None if source.author else source.title.partition(":")[0],  # what styles sort by
        "booktitle": _escaped(filter(None, [source.venue])),
        "year": source.year,
        "eprint": source.arxiv if source.arxiv_checked else None,
        "archiveprefix": "arXiv" if source.arxiv and source.arxiv_checked else None,
        "url": source.url,
    }
    inside = ",\n".join(f"  {name:<13} = {{{value}}}" for name, value in lines.items() if value)
    return f"@{'inproceedings' if source.venue else 'misc'}{{{key},\n{inside}\n}}"


def _escaped(texts: Iterable[str]) -> str:
    return "".join(_SPECIAL.get(c, c) for text in texts for c in text)


def _entry(method: str) -> str:
    """A method's BibTeX entry, from the YAML file beside its module; the empty string if it has none."""
    entry = registry.methods.entries().get(method)
    file = entry.source_file() if entry else None
    card = file.with_suffix(".yaml") if file else Path()
    if not card.is_file():
        return ""
    try:
        content = read_yaml(card, installed=True)
    except ValueError:
        return ""  # whoever runs the method is told
    return str(content.get("bibtex", "")) if isinstance(content, dict) else ""


def _key(entry: str) -> str:
    match = re.match(r"\s*@\w+\s*\{\s*([^\s,]+)\s*,", entry)
    return match[1] if match else ""
