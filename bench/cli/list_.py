"""``bench list``: what there is, without importing any of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Json, Plugins, Results, check_format, load_plugins


class What(StrEnum):
    """What can be listed."""

    methods = "methods"
    teachers = "teachers"
    datasets = "datasets"
    evals = "evals"
    metrics = "metrics"
    extractors = "extractors"
    protocols = "protocols"
    released = "released"
    runs = "runs"


def list_(
    what: Annotated[What, typer.Argument(help="What to list; evals are metrics, extractors and protocols together.")],
    format_: Json = "terminal",
    results: Results = None,
    plugin: Plugins = None,
) -> None:
    """List methods, teachers, released generators, data sets, evals or runs.

    Example: bench list methods
    """
    check_format(format_)
    load_plugins(plugin)
    rows = _runs(results) if what is What.runs else _entries(what)
    if format_ == "json":
        import json

        typer.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        typer.echo(f"no {what.value} yet", err=True)
        return
    from rich.table import Table

    from bench.render.terminal.text import uncut

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name in rows[0]:
        table.add_column(max_width=72 if name == "summary" else None, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    typer.echo(uncut(table))


def _entries(what: What) -> list[dict[str, str]]:
    from bench import registry

    kinds = ["metric", "extractor", "protocol"] if what is What.evals else [what.value.removesuffix("s")]
    found = [entry for kind in kinds for entry in registry.REGISTRIES[kind].entries().values()]
    return [
        {"name": e.name} | ({"kind": e.kind} if len(kinds) > 1 else {}) | {"summary": e.problem or e.summary(), "from": e.origin}
        for e in found
    ]


def _runs(results: Path | None) -> list[dict[str, str]]:
    from bench.runs.store import read_records, results_folder

    records, skipped = read_records(results_folder(results))
    for sentence in skipped:
        typer.echo(f"note: {sentence}", err=True)
    return [
        {
            "run": r.run_id,
            "status": r.status,
            "budget": r.recipe.budget or "-",
            "final": ", ".join(f"{k} {v:.2f}" for k, v in r.final.items()),
            "started": r.started,
        }
        for r in records
    ]
