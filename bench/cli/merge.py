"""``bench merge``: runs from other machines, in one results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs, such as another machine's.")],
    results: Results = None,
) -> None:
    """Copy finished runs into the results folder. The same run is taken once; with two different records it is refused.

    Example: bench merge from-the-cluster/runs from-my-desk/runs
    """
    from bench.files.atomic import require_writable
    from bench.render.terminal.notes import note
    from bench.runs.merge import merge as merge_runs
    from bench.runs.store import results_folder

    folder = results_folder(results)
    require_writable(folder, "results folder")
    done = merge_runs(sources, folder)
    for sentence in done.left:
        note(sentence)
    for name in done.taken:
        typer.echo(name)
    typer.echo(f"{len(done.taken)} runs taken, {len(done.there)} there already, {len(done.left)} left", err=True)
