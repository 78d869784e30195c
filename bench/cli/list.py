"""``bench list``: what there is, without importing any of it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench import registry
from bench.cli.options import Json, Plugins, Results
from bench.errors import few
from bench.files.atomic import is_held
from bench.render.terminal.notes import note
from bench.render.terminal.text import uncut
from bench.runs.record import Record
from bench.runs.store import changed_inputs, read_records

What = StrEnum("What", "methods teachers datasets evals metrics extractors protocols released runs")


def command(
    *,
    what: Annotated[
        What, typer.Argument(help="What to list; evals are metrics, extractors and protocols together.")
    ],
    format_: Json = "terminal",
    results: Results,
    plugin: Plugins = None,
) -> None:
    """List methods, teachers, released generators, data sets, evals or runs.

    Example: bench list methods
    """
    rows = _runs(results) if what is What.runs else _entries(what)
    if format_ == "json":
        typer.echo(json.dumps(rows, indent=1))
    elif not rows:
        typer.echo(f"no {what.value} yet", err=True)
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


def _runs(results: Path) -> list[dict[str, str]]:
    """List the runs of a results folder, and note those that cannot be read."""
    records, skipped = read_records(results)
    note(*skipped)
    digests: dict[Path, str] = {}
    return [
        {
            "run": record.run_id,
            "status": _status(record, results),
            "budget": record.recipe.budget or "-",
            "final": ", ".join(f"{name} {value:.2f}" for name, value in record.final.items()),
            "started": record.started,
            "code": _standing(record, digests),
        }
        for record in records
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
