"""``bench check``: does a method, teacher, metric, extractor or data set keep its contract?"""

import dataclasses
import json
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import distributed
from bench.cli.options import Json, PluginFiles
from bench.files.streams import stdout_to_stderr
from bench.runs.recipe import parse_setting

What = StrEnum("What", "method teacher metric extractor dataset")
A = {"extractor": "a feature extractor", "dataset": "a data set"} | {
    kind: f"a {kind}" for kind in ("method", "teacher", "metric")
}
"""The words for each kind."""
MARKS = {
    "passed": typer.style("✓", fg="green"),
    "failed": typer.style("✗", fg="red"),
    "warning": typer.style("!", fg="yellow"),
    "skipped": "-",
}
"""A sign for each outcome."""


def command(
    *,
    what: Annotated[What, typer.Argument(help="Kind of thing.")],
    name: Annotated[str, typer.Argument(help="Its name; of a data set also its path.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of a method or metric; repeatable.",
        ),
    ] = None,
    format_: Json = "terminal",
    plugin: PluginFiles = None,
) -> None:
    """Check in seconds that a method, teacher, metric, extractor or data set keeps its contract.
    Exit code 1 if it does not.

    Example: bench check method mine --plugin mine.py
    """
    distributed.require_one("bench check")
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.conformance.examination import KINDS, examination

    found = []
    settings = dict(parse_setting(text) for text in set_ or [])
    plugins = [Path(file) for file in plugin or []]
    findings = examination(what.value, name, plugins=plugins, settings=settings)
    while True:
        with stdout_to_stderr():
            finding = next(findings, None)
        if finding is None:
            break
        found.append(finding)
        if format_ != "json":
            _print(finding)
    counts = Counter(finding.outcome for finding in found)
    if format_ == "json":
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    else:
        keeps = "does not keep" if counts["failed"] else "keeps"
        told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))
        left = KINDS[what.value].count - len(found)
        told += f"; {left} checks are left for when that is mended" if left else ""
        warnings = counts["warning"]
        them = f", with {warnings} warnings, read them" if warnings > 1 else ", with a warning, read it"
        keeps += f" the contract of {A[what.value]}{them if warnings else ''}"
        typer.echo(f"{name} {keeps}: {told}")
    if counts["failed"]:
        raise typer.Exit(1)


def _print(finding: Any) -> None:
    """Print a finding: a sign and its name, and what there is to say below it."""
    if sys.stdout.isatty():
        typer.echo(f"{MARKS[finding.outcome]} {finding.check}")
        if finding.reason:
            typer.echo(f"    {finding.reason}")
        if finding.remedy:
            typer.echo(f"    → {finding.remedy}")
    else:
        typer.echo(
            f"{finding.outcome} {finding.check}" + (f": {finding.sentence}" if finding.reason else "")
        )
