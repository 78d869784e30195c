"""``bench report``: everything about the runs as one web page."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results
from bench.cli.selection import known_names, nothing_to_show, require_known
from bench.errors import UsageError
from bench.files.atomic import require_writable, write_atomic
from bench.files.paths import written_path
from bench.render.report.content import content
from bench.render.report.page import page
from bench.render.terminal.live import progress_bar
from bench.render.terminal.notes import note
from bench.runs.events import Working
from bench.runs.store import read_runs


def command(
    *,
    teacher: Annotated[str | None, typer.Option(help="Only this teacher.")] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", parser=written_path, metavar="FILE", help="The page to write."),
    ] = Path("report.html"),
    results: Results,
) -> None:
    """Write one HTML file with the leaderboard, curves, sample grids, and each run's recipe,
    protocol, environment and cost.

    Example: bench report --teacher edm-digits -o report.html
    """
    if output.is_dir():
        file = str(output / "report.html")
        raise UsageError(f"{str(output)!r} is a folder; name a file in it, such as {file!r}.")
    require_writable(output.parent, "folder")
    runs, skipped = read_runs(results)
    require_known(
        known_names([record for _, record in runs]), {"teacher": [teacher] if teacher else None}
    )
    with progress_bar("writing the report") as observe:
        facts = content(
            runs, skipped, teacher, report=lambda done: observe(Working("writing", done, 1.0))
        )
    note(*facts["skipped"])
    if not facts["rows"]:
        of_teacher = f" of teacher {teacher!r}" if teacher else ""
        raise nothing_to_show(of_teacher, results, (record for _, record in runs))
    # Others read the page: it names no folder of this machine.
    facts["skipped"] = [sentence.replace(f"{results}/", "") for sentence in facts["skipped"]]
    text = page(facts)
    write_atomic(output, text)
    counts = f"{len(facts['rows'])} rows of {len(facts['runs'])} runs, {len(text) / 1e6:.1f} MB"
    left_out = f", {facts['leftOut']} sample grids left out for size" if facts["leftOut"] else ""
    typer.echo(f"{output}: {counts}{left_out}", err=True)
