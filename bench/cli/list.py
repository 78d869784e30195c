"""``bench list``: what there is, without importing any of it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench import registry
from bench.cli.options import Json, Plugins, Results, takes
from bench.cli.selection import Selection, SelectionFlags, known_names, require_known, said_superseded
from bench.errors import UsageError, few
from bench.files.atomic import is_held
from bench.ranking.superseded import superseded as find_superseded
from bench.render.terminal.notes import note
from bench.render.terminal.text import uncut
from bench.runs.record import Record
from bench.runs.store import changed_inputs, read_records

What = StrEnum("What", "methods teachers datasets evals metrics extractors protocols released runs")


@takes(SelectionFlags)
def command(
    *,
    what: Annotated[
        What, typer.Argument(help="What to list; evals are metrics, extractors and protocols together.")
    ],
    flags: dict[str, Any],
    superseded: Annotated[
        bool,
        typer.Option(
            "--superseded", help="The runs that newer ones replace, as their code has changed."
        ),
    ] = False,
    format_: Json = "terminal",
    results: Results,
    plugin: Plugins = None,
) -> None:
    """List methods, teachers, released generators, data sets, evals or runs.

    Example: bench list methods

    Of the runs, some: bench list runs --method sid --since 2026-11-20
    """
    if what is not What.runs and (flags or superseded):
        given = next(iter(flags), "superseded")
        raise UsageError(f"--{given} chooses runs; say `bench list runs`, or leave it out.")
    nothing = f"no {what.value} yet"
    if what is What.runs:
        records, skipped = read_records(results)
        note(*skipped)
        rows = _runs(records, results, Selection.of(flags), superseded)
        if records:
            nothing = f"none of {len(records)} {'run' if len(records) == 1 else 'runs'} is chosen"
    else:
        rows = _entries(what)
    if format_ == "json":
        typer.echo(json.dumps(rows, indent=1))
    elif not rows:
        typer.echo(nothing, err=True)
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for name in rows[0]:
            table.add_column(max_width=72 if name == "summary" else None, overflow="fold")
        for row in rows:
            table.add_row(*row.values())
        typer.echo(uncut(table))


def _entries(what: What) -> list[dict[str, str]]:
    """List what is registered, with a kind for each where there are several."""
    kinds = ["metric", "extractor", "protocol"] if what is What.evals else [what.value.removesuffix("s")]
    rows = []
    for entry in (entry for kind in kinds for entry in registry.REGISTRIES[kind].entries().values()):
        kind = {"kind": entry.kind} if len(kinds) > 1 else {}
        rows.append(
            {
                "name": entry.name,
                **kind,
                "summary": entry.problem or entry.summary(),
                "from": entry.origin,
            }
        )
    return rows


def _runs(
    records: list[Record], results: Path, selection: Selection, superseded: bool
) -> list[dict[str, str]]:
    """List the chosen runs of a results folder: those that count, or those that others among them
    supersede. Note what is left out.
    """
    require_known(known_names(records), {"teacher": selection.teachers, "method": selection.methods})
    chosen = selection.take(records)
    # Among the chosen and their teachers, as in a table.
    successors = find_superseded(selection.take_with_teachers(records))
    shown = [record for record in chosen if (record.run_id in successors) == superseded]
    left_out = 0 if superseded else len(chosen) - len(shown)
    note(*said_superseded(left_out, "--superseded lists them"))
    digests: dict[Path, str] = {}
    return [
        {
            "run": record.run_id,
            "status": _status(record, results),
            "budget": record.recipe.budget or "-",
            "final": ", ".join(f"{name} {value:.2f}" for name, value in record.final.items()),
            "started": record.started,
            "code": f"superseded by {successors[record.run_id]}"
            if superseded
            else _standing(record, digests),
        }
        for record in shown
    ]


def _status(record: Record, results: Path) -> str:
    """Return a run's status; of one that no process holds any more, ``stopped`` and not ``running``."""
    stopped = record.status == "running" and not is_held(results / Path(record.run_id).name / ".lock")
    return "stopped" if stopped else record.status


def _standing(record: Record, digests: dict[Path, str]) -> str:
    """Say whether a finished run still answers its request, or which of the files behind it have
    changed.
    """
    if record.status != "done":
        return "-"
    changed = changed_inputs(record, digests)
    return f"changed: {few(path.name for path in changed)}" if changed else "current"
