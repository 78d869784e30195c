"""``bench table``: the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Plugins, Results, check_format, load_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.leaderboard.rows import Choice, Leaderboard, Row
    from bench.runs.record import Record


def table(
    teacher: Annotated[str | None, typer.Option(help="Only these teachers, such as edm-cifar10.")] = None,
    method: Annotated[str | None, typer.Option(help="Only these methods, such as sid,dmd,teacher.")] = None,
    one_step: Annotated[bool, typer.Option("--one-step", help="Only what takes one network evaluation.")] = False,
    data_free: Annotated[bool, typer.Option("--data-free", help="Only what needs neither real images nor pairs.")] = False,
    metrics: Annotated[str | None, typer.Option(help="Metrics to show, the first one ranks, such as fid,is.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns to show, of those there are by default, or all: interval, evaluation-noise, training-noise, tied, "
            "area, to-2x, to-1.2x, to-1x (FLOPs until so many times the teacher's FID), updates, source."
        ),
    ] = None,
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Order within each teacher; -COLUMN reverses it.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Published numbers as well, set apart and without rank.")
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="terminal, md, latex, html, csv or json [default: FILE's suffix, or terminal].")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")] = None,
    bib: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the BibTeX entries of what is in the table.")] = None,
    results: Results = None,
    plugin: Plugins = None,
) -> None:
    """Print the leaderboard of all finished runs; runs that differ only in their seed make one row.

    Example: bench table --teacher edm-digits -o table.tex --bib table.bib
    """
    from bench.errors import BenchError
    from bench.files.atomic import require_writable, write_atomic
    from bench.leaderboard.citations import cited, uncited
    from bench.leaderboard.rows import Choice
    from bench.render.tables.bibtex import bibliography
    from bench.render.tables.table import FORMATS, format_of, render, sorted_by
    from bench.runs.store import results_folder, uncollected

    form = check_format(format_ or (format_of(output) if output else "terminal"), FORMATS)
    load_plugins(plugin)
    teachers, methods, wanted, names = (_listed(given) for given in (teacher, method, metrics, columns))
    folder = results_folder(results)
    choice = Choice(teachers, methods, one_step, data_free)
    with uncollected():
        board, notes = _board(folder, choice, wanted, published)
    for sentence in notes:
        typer.echo(f"note: {sentence}", err=True)
    if published and not any(row.published for row in board.rows):
        typer.echo("note: no published number is of these teachers and rows; say --teacher edm-cifar10, for one.", err=True)
    if not board.rows:
        asked = {"teacher": teacher, "method": method, "metrics": metrics, "one-step": one_step, "data-free": data_free}
        said = [f"{name} {value!r}" if value is not True else f"--{name}" for name, value in asked.items() if value]
        raise BenchError(
            f"no finished run{' of ' + ' with '.join(said) if said else ''} in {str(folder)!r}; "
            "make one, such as `bench run --method sid --teacher edm-digits`, or name its folder with --results."
        )
    with uncollected():
        board = cited(sorted_by(board, sort) if sort else board)
        text = render(board, form, names)
    for file in filter(None, (output, bib)):
        require_writable(file.parent, "folder")
    if bib:
        write_atomic(bib, bibliography(board) + "\n")
        unknown_ones = uncited(board)
        typer.echo(f"{bib}{f': no BibTeX is known of {_and(unknown_ones)}' if unknown_ones else ''}", err=True)
    if output:
        write_atomic(output, text + "\n")
        typer.echo(f"{output}: {len(board.rows)} rows", err=True)
    else:
        typer.echo(text)


def _board(folder: Path, choice: Choice, metrics: Sequence[str] | None, published: bool) -> tuple[Leaderboard, list[str]]:
    """The table of the runs in a folder, and what was left out of it."""
    from bench.leaderboard.leaderboard import leaderboard
    from bench.runs.store import read_records

    records, skipped = read_records(folder)
    others = _published(records, choice.teachers) if published else []
    _check_names(records, others, choice, metrics)
    open_runs = [r.run_id for r in records if r.status != "done" and (choice.teachers is None or r.teacher in choice.teachers)]
    notes = [*skipped, *([f"not finished: {', '.join(open_runs)}."] if open_runs else [])]
    return leaderboard(records, metrics=metrics, choice=choice, published=others), notes


def _listed(given: str | None) -> list[str] | None:
    return [name.strip() for name in given.split(",") if name.strip()] if given else None


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _published(records: Sequence[Record], teachers: Sequence[str] | None) -> list[Row]:
    """The published rows of these teachers; by default of those that have runs, and of all if there are no runs at all."""
    from bench.leaderboard.leaderboard import published_rows
    from bench.leaderboard.published import published

    data = published()
    every = [t for names in data.datasets.values() for t in names]
    shown = teachers or list(dict.fromkeys(r.teacher for r in records if r.status == "done")) or every
    return published_rows(data.results, data.shown_under(shown))


def _check_names(records: Sequence[Record], others: Sequence[Row], choice: Choice, metrics: Sequence[str] | None) -> None:
    """Raise UsageError for a metric, teacher or method that nothing has."""
    from bench import registry
    from bench.errors import unknown
    from bench.leaderboard.finals import smallest_of

    labels = {name for row in others if row.published for name in (row.method, row.published.method)}
    known = {
        "metric": {*registry.metrics.entries(), *(m for r in records for m in (*r.final, *smallest_of(r)))},
        "teacher": {*registry.teachers.entries(), *(r.teacher for r in records)},
        "method": {*registry.methods.entries(), *(r.method for r in records), *labels},
    }
    for what, given in (("metric", metrics), ("teacher", choice.teachers), ("method", choice.methods)):
        for name in given or []:
            if name not in known[what]:
                raise unknown(what, name, known[what])
