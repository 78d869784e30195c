"""``bench table``: the leaderboard."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import Plugins, Results, comma_list, one_of, takes
from bench.cli.selection import (
    IncludeSuperseded,
    Selection,
    SelectionFlags,
    comparable,
    known_names,
    nothing_to_show,
    require_known,
    unfinished,
)
from bench.files.atomic import require_writable, write_atomic
from bench.files.paths import written_path
from bench.ranking.finals import smallest_of
from bench.ranking.leaderboard import leaderboard, published_beside
from bench.ranking.rows import Choice, Leaderboard, Row
from bench.render.tables.bibtex import bibliography, cited, uncited
from bench.render.tables.table import FORMATS, format_of, render, sorted_by
from bench.render.terminal.notes import note
from bench.runs.record import Record
from bench.runs.store import read_records, uncollected


@takes(SelectionFlags)
def command(
    *,
    flags: dict[str, Any],
    include_superseded: IncludeSuperseded = False,
    one_step: Annotated[
        bool, typer.Option("--one-step", help="Only what takes one network evaluation.")
    ] = False,
    data_free: Annotated[
        bool, typer.Option("--data-free", help="Only what needs neither real images nor pairs.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics to show, the first one ranks, such as fid,is.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns to show, by their titles in small letters and hyphens, or metrics, all, usual (the "
            "default), paper (the default of LaTeX, which fits a page), median, interval, places, "
            "against-teacher, seeds-needed, evaluation-noise, training-noise, tied, area, to-2x, "
            "to-1.2x, to-1x (FLOPs until so many times the teacher's FID), updates, source."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Order within each teacher; -COLUMN reverses it."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Published numbers as well, set apart and without rank.")
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="terminal, md, latex, html, csv or json [default: FILE's suffix, or terminal].",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", parser=written_path, metavar="FILE", help="Write to a file."),
    ] = None,
    bib: Annotated[
        Path | None,
        typer.Option(
            parser=written_path, metavar="FILE", help="Write the BibTeX entries of what is in the table."
        ),
    ] = None,
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Print the leaderboard of all finished runs; runs that differ only in their seed make one row.

    Example: bench table --teacher edm-digits -o table.tex --bib table.bib
    """
    form = one_of("format", format_ or (format_of(output) if output else "terminal"), FORMATS)
    selection = Selection.of(flags)
    choice = Choice(selection.teachers, selection.methods, one_step, data_free)
    with uncollected():
        records, skipped = read_records(results)
        of_any_method = replace(selection, methods=None).take(records)  # some methods are only published
        others = published_beside(of_any_method or records, choice.teachers) if published else []
        _require_known(records, others, choice, wanted := comma_list(metrics) or None)
        shown, notes = comparable(records, selection, include_superseded=include_superseded)
        board = leaderboard(shown, metrics=wanted, choice=choice, published=others)
    note(*skipped, *unfinished(shown), *notes)
    if published and not any(row.published for row in board.rows):
        note("no published number is of these teachers and rows; say --teacher edm-cifar10, for one.")
    if not board.rows:
        flags |= {"metrics": metrics, "one-step": one_step, "data-free": data_free}
        raise nothing_to_show(flags, results, records)
    with uncollected():
        board = cited(sorted_by(board, sort) if sort else board)
        text = render(board, form, comma_list(columns) or None)
    _write(board, text, output, bib)


def _require_known(
    records: Sequence[Record], published: Sequence[Row], choice: Choice, metrics: Sequence[str] | None
) -> None:
    """Raise UsageError for a name that neither runs nor published rows have."""
    known = known_names(records)
    known["metric"] |= {name for record in records for name in smallest_of(record)}
    known["method"] |= {
        name for row in published if row.published for name in (row.method, row.published.method)
    }
    require_known(known, {"metric": metrics, "teacher": choice.teachers, "method": choice.methods})


def _write(board: Leaderboard, text: str, output: Path | None, bib: Path | None) -> None:
    """Write the table to its file or on stdout, and the bibliography to its file."""
    for file in filter(None, (output, bib)):
        require_writable(file.parent, "folder")
    if bib:
        write_atomic(bib, bibliography(board) + "\n")
        missing = uncited(board)
        of = " and ".join(filter(None, [", ".join(missing[:-1]), *missing[-1:]]))
        typer.echo(f"{bib}{f': no BibTeX is known of {of}' if of else ''}", err=True)
    if output:
        write_atomic(output, text + "\n")
        typer.echo(f"{output}: {len(board.rows)} rows", err=True)
    else:
        typer.echo(text)
