"""Options that several commands share, under one name and one meaning each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="Python file that registers a method, a metric and so on."),
]
Results = Annotated[
    Path | None, typer.Option("--results", metavar="DIR", help="Folder of runs [default: $BENCH_RESULTS or results/runs].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
TeacherPath = Annotated[str | None, typer.Option(metavar="FILE", help="Weights to read in place of the teacher's usual ones.")]
SourceName = Annotated[
    str,
    typer.Argument(metavar="RUN|FILE|teacher:NAME|released:NAME", help="A run, its generator's weights, or what is named so."),
]
SourcePath = Annotated[
    str | None,
    typer.Option("--path", "--teacher-path", metavar="FILE", help="Weights in place of the usual ones."),
]
Reference = Annotated[
    str | None,
    typer.Option(metavar="FILE|DATASET", help="Statistics (safetensors, npz) or a data set [default: the protocol's]."),
]
ExtractorPath = Annotated[
    str | None, typer.Option(metavar="FILE", help="Weights of the protocol's feature extractor [default: fetched].")
]
Fast = Annotated[bool, typer.Option("--fast", help="Features in 16 bits; near the exact numbers, and another protocol.")]
Json = Annotated[str, typer.Option("--format", help="terminal or json.")]


def load_plugins(files: list[str] | None) -> list[str]:
    """Load plugin files, and return them as a list."""
    from bench.registry import load_plugin

    for file in files or []:
        load_plugin(file)
    return list(files or [])


def names(given: str | None, what: str = "metrics", such_as: str = "fid,is") -> list[str] | None:
    """``fid,is`` as a list. Raises UsageError for an empty one."""
    from bench.errors import UsageError

    found = [name.strip() for name in (given or "").split(",") if name.strip()]
    if given is not None and not found:
        raise UsageError(f"the list of {what} is empty; give some, such as {such_as}.")
    return found or None


def check_format(given: str, known: tuple[str, ...] = ("terminal", "json")) -> str:
    """The format, if it is known. Raises UsageError otherwise."""
    from bench.errors import unknown

    if given not in known:
        raise unknown("format", given, known)
    return given
