"""The BibTeX file beside a table."""

from bench import registry
from bench.leaderboard.citations import bibtex_entry, citation_key
from bench.leaderboard.published import Paper, published
from bench.leaderboard.rows import Leaderboard
from bench.render.tables.latex import escaped


def bibliography(board: Leaderboard) -> str:
    """Return the BibTeX entries that a board cites, each once, by their keys.

    A method's own card is preferred to the survey of published numbers, which has family names alone.
    """
    cited = {row.cite for row in board.rows if row.cite}
    cards = (bibtex_entry(method) for method in registry.methods.entries())
    entries = {key: entry for entry in cards if (key := citation_key(entry)) in cited}
    for key in cited - set(entries):
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
