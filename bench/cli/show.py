"""``bench show``: one method, teacher, run and so on in full."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from bench.cli.options import Json, Plugins, Results
from bench.files.documents import dump_yaml
from bench.render.terminal.text import terminal
from bench.runs.store import find_run

What = StrEnum("What", "method teacher released protocol metric extractor run")


def command(
    *,
    what: Annotated[What, typer.Argument(help="Kind of thing.")],
    name: Annotated[str, typer.Argument(help="Its name; a run's id or the beginning of it.")],
    teacher: Annotated[
        str | None, typer.Option(help="For a method: the teacher whose settings are meant.")
    ] = None,
    format_: Json = "terminal",
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Show what a method will use and where each value comes from, or the facts of anything else.

    Example: bench show method sid --teacher edm-digits
    """
    if what is What.run:
        folder, record = find_run(name, results)
        facts = record.model_dump(mode="json", exclude={"request", "sources"})
        facts["folder"] = str(folder.path)
    else:
        facts = _facts(what, name, teacher)
    if format_ == "json":
        typer.echo(json.dumps(facts, indent=1))
    elif what is What.method:
        _print_method(facts)
    else:
        typer.echo(dump_yaml(facts, width=120).rstrip())


def _facts(what: What, name: str, teacher: str | None) -> dict[str, Any]:
    from bench.cli import facts  # torch, which a run is shown without

    if what is What.method:
        return facts.method_facts(name, teacher or "")
    describe = {
        What.teacher: facts.teacher_facts,
        What.released: facts.released_facts,
        What.protocol: facts.protocol_facts,
        What.metric: facts.metric_facts,
        What.extractor: facts.extractor_facts,
    }
    return describe[what](name)


def _print_method(facts: dict[str, Any]) -> None:
    """Print a method's settings as a table, and below it what it costs, needs and cites."""
    console = terminal()
    console.print(f"{facts['method']}: {facts['summary']}")
    console.print(
        f"settings for {facts['teacher']}:"
        if facts["teacher"]
        else "default settings (--teacher NAME for a teacher's own):"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("setting", "value", "meaning", "source"):
        table.add_column(title, no_wrap=title in ("setting", "value"))
    for key, setting in facts["settings"].items():
        table.add_row(key, str(setting["value"]), setting["meaning"] or "", setting["source"])
    console.print(table)
    if facts["update"]:
        typer.echo(
            f"one update costs {facts['update']}: F a forward pass of the network on the batch, E one "
            "of its encoder"
        )
    if facts["needs"] is not None:
        typer.echo(f"needs {'; '.join(facts['needs']) or 'nothing but the teacher'}")
    if facts["tuning"]:
        console.print(f"tuning: {facts['tuning']['runs']} runs; {facts['tuning']['note']}")
    typer.echo(facts["bibtex"].rstrip() or "no citation")
