"""What a shell completes beside commands and options: names of methods, teachers, runs and so on.

Nothing is imported for it but what lists names, and no plugin file that stands on the line is run.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from typing import Any, get_args

import typer

from bench import registry
from bench.cli.launch import LAUNCHERS
from bench.runs.exported import FORMS
from bench.runs.options import RunOptions
from bench.runs.search import WAYS
from bench.runs.store import results_folder

Name = tuple[str, str]
"""A name, and the line that shells print beside it."""
Completer = Callable[[typer.Context], Iterable[Name]]


def registered(kind: str) -> Completer:
    """Complete the names of one kind."""
    return lambda ctx: [(e.name, e.summary()) for e in registry.REGISTRIES[kind].entries().values()]


def words(*known: str) -> Completer:
    """Complete these words."""
    return lambda ctx: [(word, "") for word in known]


def choices(option: str) -> list[str]:
    """Return the words that an option of a run may be, of one that is a choice of words."""
    kind = RunOptions.model_fields[option].annotation
    either = (kind, *get_args(kind))  # which may be an option's words, or None
    return [word for each in either for word in get_args(each) if isinstance(word, str)]


def runs(ctx: typer.Context) -> list[Name]:
    """Complete the ids of the runs in the results folder, which ``--results`` names."""
    folder = ctx.params.get("results") or results_folder()
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [(name, "") for name in sorted(names) if os.path.isfile(folder / name / "record.json")]


def generators(ctx: typer.Context) -> list[Name]:
    """Complete whatever makes images: runs, teachers and released generators."""
    return [*runs(ctx), *_of_kind("teacher"), *_of_kind("released")]


def with_files(ctx: typer.Context) -> list[Name]:
    """Complete ``KIND:NAME`` of whatever has files to fetch."""
    return [name for kind in registry.REGISTRIES for name in _of_kind(kind)]


def _of_kind(kind: str) -> list[Name]:
    return [(f"{kind}:{e.name}", e.summary()) for e in registry.REGISTRIES[kind].entries().values()]


def shown(ctx: typer.Context) -> Iterable[Name]:
    """Complete the name in ``bench show KIND NAME`` and ``bench check KIND NAME``."""
    kind = str(ctx.params["what"])
    return runs(ctx) if kind == "run" else registered(kind)(ctx)


COMPLETERS: dict[str, Completer] = {
    "method": registered("method"),
    "methods": registered("method"),
    "teacher": registered("teacher"),
    "eval": registered("metric"),
    "metric": registered("metric"),
    "metrics": registered("metric"),
    "protocol": registered("protocol"),
    "data": registered("dataset"),
    "dataset": registered("dataset"),
    "reference": registered("dataset"),
    "source": generators,
    "export.source": runs,
    "rm.names": runs,
    "fetch.names": with_files,
    "show.name": shown,
    "check.name": shown,
    "new.parent": registered("method"),
    "form": words(*FORMS),
    "device": words("auto", "cpu", "cuda"),
    "precision": words("auto", "fp32", "tf32", "fp16", "bf16"),
    "launcher": words(*LAUNCHERS),
    "sweep.by": words(*WAYS),
    **{option: words(*known) for option in RunOptions.model_fields if (known := choices(option))},
}
"""The names that a parameter takes, by its own name, or by that of its command and its own."""


def taught(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameters complete the names that they take."""
    own = command.__module__.rpartition(".")[2]
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if completer := COMPLETERS.get(f"{own}.{parameter.name}") or COMPLETERS.get(parameter.name):
            for option in getattr(parameter.annotation, "__metadata__", ()):
                option.autocompletion = _listed(completer)
    return command


def _listed(completer: Completer) -> Callable[[typer.Context, str], list[Name]]:
    """Complete the last name of a list such as ``fid,is``, of which each is named once."""

    def complete(ctx: typer.Context, incomplete: str) -> list[Name]:
        before, comma, _ = incomplete.rpartition(",")
        named = before.split(",")
        return [(before + comma + name, line) for name, line in completer(ctx) if name not in named]

    return complete


def answer(app: Callable[..., Any], question: str) -> None:
    """Answer the shell's question, such as ``complete_bash``, and end the process.

    An error in the middle of a line is no news.
    """
    cut = _join_words() if question == "complete_bash" else ""
    said, code = StringIO(), 0
    with redirect_stdout(said), redirect_stderr(StringIO()), suppress(Exception):
        try:
            app(prog_name="bench")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    for line in said.getvalue().splitlines():
        print(line.removeprefix(cut))
    sys.exit(code)


def _join_words() -> str:
    """Put the words of the line together that bash takes apart at ``:`` and ``=``.

    Returns the beginning of the last word that bash keeps to itself, such as ``teacher:``.
    """
    joined, at = [""], -1
    parts = os.environ["COMP_WORDS"].split("\n")
    last = int(os.environ["COMP_CWORD"])
    for i, part in enumerate(parts):
        breaks = bool(part) and not part.strip(":=")
        if breaks or (joined[-1] and joined[-1][-1] in ":="):
            joined[-1] += part
        else:
            joined.append(part)
        at = len(joined) - 2 if i == last else at
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(joined[1:]), str(at)
    before, colon, _ = joined[at + 1].rpartition(":")
    return before.rpartition("=")[2] + colon
