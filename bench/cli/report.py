"""``bench report``: everything about the runs as one web page."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import Results, takes
from bench.cli.selection import (
    IncludeSuperseded,
    Selection,
    SelectionFlags,
    comparable,
    known_names,
    nothing_to_show,
    require_known,
)
from bench.errors import UsageError
from bench.files.atomic import require_writable, write_atomic
from bench.files.paths import written_path
from bench.render.report.content import content
from bench.render.report.page import page
from bench.render.terminal.live import progress_bar
from bench.render.terminal.notes import note
from bench.runs.events import Working
from bench.runs.store import read_runs


@takes(SelectionFlags)
def command(
    *,
    flags: dict[str, Any],
    include_superseded: IncludeSuperseded = False,
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
    records, selection = [record for _, record in runs], Selection.of(flags)
    require_known(known_names(records), {"teacher": selection.teachers, "method": selection.methods})
    chosen, notes = comparable(records, selection, include_superseded=include_superseded)
    ids = {record.run_id for record in chosen}
    runs = [run for run in runs if run[1].run_id in ids]
    with progress_bar("writing the report") as observe:
        facts = content(
            runs, [*skipped, *notes], report=lambda done: observe(Working("writing", done, 1.0))
        )
    note(*facts["skipped"])
    if not facts["rows"]:
        raise nothing_to_show(flags, results, records)
    # Others read the page: it names no folder of this machine.
    facts["skipped"] = [sentence.replace(f"{results}/", "") for sentence in facts["skipped"]]
    text = page(facts)
    write_atomic(output, text)
    counts = f"{len(facts['rows'])} rows of {len(facts['runs'])} runs, {len(text) / 1e6:.1f} MB"
    left_out = f", {facts['leftOut']} sample grids left out for size" if facts["leftOut"] else ""
    typer.echo(f"{output}: {counts}{left_out}", err=True)
