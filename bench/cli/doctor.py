"""``bench doctor``: what is installed, what is missing, and the cure."""

import dataclasses
import itertools
import json
from typing import Annotated

import typer

from bench.cli.options import Json, PluginFiles, Results


def command(
    *,
    teacher: Annotated[
        str | None,
        typer.Option(help="Look as well whether its files, disk and memory are ready for a run of it."),
    ] = None,
    results: Results,
    format_: Json = "terminal",
    plugin: PluginFiles = None,
) -> None:
    """Check the installation: versions, devices, folders, and that every registered thing
    imports. Each problem comes with its cure. Exit code 1 on a problem.

    Example: bench doctor --teacher edm-cifar10
    """
    from bench.cli import diagnosis  # torch, which the help does without

    looked = [
        diagnosis.plugins(plugin or []),
        diagnosis.installation(),
        diagnosis.folders(results),
        diagnosis.registered(),
        *([diagnosis.readiness(teacher, results)] if teacher else []),
    ]
    findings = []
    for found in itertools.chain.from_iterable(looked):
        findings.append(found)
        if format_ == "terminal":
            cure = f" -> {found.cure}" if found.cure else ""
            typer.echo(f"{'ok  ' if found.sound else 'FAIL'}  {found.what:<18} {found.text}{cure}")
    if format_ == "json":
        typer.echo(json.dumps([dataclasses.asdict(found) for found in findings], indent=1))
    if not all(found.sound for found in findings):
        raise typer.Exit(1)
