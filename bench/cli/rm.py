"""``bench rm``: remove runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results
from bench.errors import Held, UsageError
from bench.files.atomic import is_held
from bench.ranking.superseded import superseded as find_superseded
from bench.render.terminal.notes import note
from bench.runs.folder import RunFolder
from bench.runs.remove import bytes_of, remove_run
from bench.runs.store import find_folder, read_runs
from bench.units import quantity


def command(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="Runs by their ids, by how these begin, or by their folders."
        ),
    ] = None,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="All runs that newer ones replace, as code has changed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed; remove nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")
    ] = False,
    results: Results,
) -> None:
    """Remove runs from the results folder, with all that is kept beside them.

    Example: bench rm sid-edm-digits-s0-5a26bd3fea --dry-run
    """
    folders = _folders(names or [], results, superseded=superseded)
    for folder in folders:
        if is_held(folder.path / ".lock"):
            works = f"a process works on the run {folder.path.name}; wait for it, or stop it first."
            if not dry_run:
                raise Held(works)
            note(works)
    room = {folder: bytes_of(folder) for folder in folders}
    runs = f"{len(folders)} run{'s' if len(folders) > 1 else ''} of {quantity(sum(room.values()))}B"
    if not (dry_run or yes):
        _confirm(runs, [folder.path.name for folder in folders])
    for folder in folders:
        if not dry_run:
            remove_run(folder)
        typer.echo(f"{folder.path.name}  {quantity(room[folder])}B")
    typer.echo(f"{runs} {'would be removed' if dry_run else 'removed'}", err=True)


def _folders(names: list[str], results: Path, *, superseded: bool) -> list[RunFolder]:
    """Find the runs that are named, each once, and if asked for those that others supersede. Raises
    UsageError where there are none.
    """
    folders = [find_folder(name, results) for name in names]
    if superseded:
        runs, _ = read_runs(results)
        successors = find_superseded(record for _, record in runs)
        folders += [folder for folder, record in runs if record.run_id in successors]
    if not folders:
        why = "no run is superseded" if superseded else "no run is named"
        raise UsageError(f"{why}; `bench list runs` shows what there is.")
    return list({folder.path.absolute(): folder for folder in folders}.values())


def _confirm(runs: str, names: list[str]) -> None:
    """Ask whether to go on, and exit if not. Raises UsageError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"removing {runs} has to be confirmed, and there is no terminal to ask at; give --yes, or "
            "--dry-run to see what would be removed."
        )
    typer.echo("\n".join(names), err=True)
    if not typer.confirm(f"Remove {runs}?", err=True):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)
