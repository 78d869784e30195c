"""``bench merge``: runs from other machines, in one results folder."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results
from bench.files.atomic import require_writable
from bench.files.paths import written_path
from bench.render.terminal.notes import note
from bench.runs.merge import merge


def command(
    *,
    sources: Annotated[
        list[Path],
        typer.Argument(
            parser=written_path, metavar="DIR...", help="Folders of runs, such as another machine's."
        ),
    ],
    results: Results,
) -> None:
    """Copy finished runs into the results folder. The same run is taken once; with two
    different records it is refused.

    Example: bench merge from-the-cluster/runs from-my-desk/runs
    """
    require_writable(results, "results folder")
    merged = merge(sources, results)
    note(*merged.left)
    for name in (*merged.taken, *merged.evaluations):
        typer.echo(name)
    typer.echo(
        f"{len(merged.taken)} runs taken, {len(merged.there)} there already, {len(merged.left)} left",
        err=True,
    )
