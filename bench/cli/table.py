"""``bench table``: the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results, check_format


def table(
    teacher: Annotated[str | None, typer.Option(help="Only this teacher.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics to show, the first one ranks, such as fid,is.")] = None,
    format_: Annotated[str, typer.Option("--format", help="terminal, md, latex, csv or json.")] = "terminal",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")] = None,
    results: Results = None,
) -> None:
    """Print the leaderboard of all finished runs; runs that differ only in their seed make one row.

    Example: bench table --teacher edm-digits --format latex -o table.tex
    """
    from bench.errors import BenchError, unknown
    from bench.files import require_writable, write_atomic
    from bench.leaderboard import leaderboard
    from bench.registry import entries
    from bench.render.table import FORMATS, render
    from bench.store import read_records, results_folder

    check_format(format_, FORMATS)
    folder = results_folder(results)
    records, skipped = read_records(folder)
    wanted_metrics = [m.strip() for m in metrics.split(",")] if metrics else None
    known = {*entries("metric"), *(m for r in records for m in r.final)}
    for name in wanted_metrics or []:
        if name not in known:
            raise unknown("metric", name, known)
    board = leaderboard(records, teacher, wanted_metrics)
    open_runs = [r.run_id for r in records if r.status != "done" and (teacher is None or r.teacher == teacher)]
    for sentence in [*skipped, *([f"not finished: {', '.join(open_runs)}."] if open_runs else [])]:
        typer.echo(f"note: {sentence}", err=True)
    if teacher and teacher not in (teachers := {*entries("teacher"), *(r.teacher for r in records)}):
        raise unknown("teacher", teacher, teachers)
    if not board.rows:
        wanted = " with ".join(
            w for w in (f"teacher {teacher!r}" if teacher else "", f"metrics {metrics!r}" if metrics else "") if w
        )
        raise BenchError(
            f"no finished run{' of ' + wanted if wanted else ''} in {str(folder)!r}; "
            "make one, such as `bench run --method sid --teacher edm-digits`, or name its folder with --results."
        )
    text = render(board, format_)
    if output:
        require_writable(output.parent, "folder")
        write_atomic(output, text + "\n")
        typer.echo(f"{output}: {len(board.rows)} rows", err=True)
    else:
        typer.echo(text)
