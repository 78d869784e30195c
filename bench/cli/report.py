"""``bench report``: everything about the runs as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results


def report(
    teacher: Annotated[str | None, typer.Option(help="Only this teacher.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path("report.html"),
    results: Results = None,
) -> None:
    """Write one HTML file with the leaderboard, curves, sample grids, and each run's recipe, protocol, environment and cost.

    Example: bench report --teacher edm-digits -o report.html
    """
    from bench import registry
    from bench.errors import BenchError, UsageError, unknown
    from bench.files.atomic import require_writable, write_atomic
    from bench.render.report.content import content
    from bench.render.report.page import page
    from bench.render.terminal.live import progress_bar
    from bench.runs.events import Working
    from bench.runs.store import read_runs, results_folder

    if output.is_dir():
        raise UsageError(f"{str(output)!r} is a folder; name a file in it, such as {str(output / 'report.html')!r}.")
    require_writable(output.parent, "folder")
    folder = results_folder(results)
    runs, skipped = read_runs(folder)
    if teacher and teacher not in (teachers := {*registry.teachers.entries(), *(record.teacher for _, record in runs)}):
        raise unknown("teacher", teacher, teachers)
    with progress_bar("writing the report") as observe:
        shown = content(runs, skipped, teacher, report=lambda done: observe(Working("writing", done, 1.0)))
    for sentence in shown["skipped"]:
        typer.echo(f"note: {sentence}", err=True)
    if not shown["rows"]:
        raise BenchError(
            f"no finished run{f' of teacher {teacher!r}' if teacher else ''} in {str(folder)!r}; "
            "make one, such as `bench run --method sid --teacher edm-digits`, or name its folder with --results."
        )
    shown["skipped"] = [sentence.replace(f"{folder}/", "") for sentence in shown["skipped"]]  # a page is for others to see
    text = page(shown)
    write_atomic(output, text)
    left_out = f", {shown['leftOut']} sample grids left out for size" if shown["leftOut"] else ""
    typer.echo(f"{output}: {len(shown['rows'])} rows of {len(shown['runs'])} runs, {len(text) / 1e6:.1f} MB{left_out}", err=True)
