"""The command line, ``bench``: one module a command, imported when its command is used."""

import os
import sys
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench.errors import BenchError, Interrupted

COMMANDS = {
    "run": "Distil a teacher by a method. The same command continues an interrupted run and "
    "answers at once from a finished one.",
    "compare": "Carry out a grid of runs at matched compute and print its table. The same command "
    "goes on where it was stopped.",
    "sweep": "Try settings of a method, drawn from a search space, at seeds of their own.",
    "table": "Print the leaderboard of all finished runs; runs that differ only in their seed make one row.",
    "plot": "Draw the finished runs; those that differ only in their seed make one line, "
    "with a band from the smallest to the largest.",
    "report": "Write one HTML file with the leaderboard, curves, sample grids, "
    "and each run's recipe, protocol, environment and cost.",
    "claims": "Put the claims of SiD's paper to the test on the finished runs: each with its criterion, its "
    "measurements and a verdict.",
    "merge": "Copy finished runs into the results folder. The same run is taken once; with two "
    "different records it is refused.",
    "rm": "Remove runs from the results folder, with all that is kept beside them.",
    "list": "List methods, teachers, released generators, data sets, evals or runs.",
    "new": "Begin a method, teacher, metric, extractor or data set of your own: "
    "a working example of its kind under a new name.",
    "check": "Check in seconds that a method, teacher, metric, extractor or data set keeps its contract. "
    "Exit code 1 if it does not.",
    "show": "Show what a method will use and where each value comes from, or the facts of anything else.",
    "sample": "Write a grid of samples as a PNG, or each into a file or folder; "
    "image i depends on its seed alone.",
    "eval": "Measure a run, a weights file, a teacher, a released generator or a folder of "
    "images; each number has its protocol.",
    "verify": "Measure a teacher's FID by the protocol of its published one, or repeat the first updates "
    "of a run, and compare. Exit code 1 if they do not agree.",
    "export": "Write a run's generator into a new folder as safetensors, for Hugging Face or as an ONNX "
    "graph, with its recipe and a model card.",
    "train": "Train an embedded network from nothing; the same machine gives the same weights "
    "again, to the bit. What was stopped is continued by the same command.",
    "stats": "Write the reference statistics of a data set under a protocol.",
    "fetch": "Download and verify the files that a teacher, data set or other part needs. Exit "
    "code 1 if one cannot be had.",
    "doctor": "Check the installation: versions, devices, folders, and that every registered thing imports. "
    "Each problem comes with its cure. Exit code 1 on a problem.",
}
"""Every command with the first line of its docstring, for the help that imports none of them."""

COMPLETING = "_BENCH_COMPLETE"
"""Set by a shell that asks what may come next on the line."""
STYLE: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
}


class LazyGroup(TyperGroup):
    """Knows each command by its name and a line of help, and imports the one that runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with, and import it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)), rest


def load_command(name: str) -> Any:
    """Import ``bench.cli.NAME`` and make a command of its function ``command``."""
    app = typer.Typer(**STYLE)
    command = import_module(f"bench.cli.{name}").command
    if COMPLETING in os.environ:
        from bench.cli.completion import taught  # a shell alone asks for it

        command = taught(command)
    app.command(name)(command)
    return typer.main.get_command(app)


app = typer.Typer(
    name="bench",
    cls=LazyGroup,
    help="Distil pretrained diffusion models into one-step generators, "
    "and compare the methods at matched compute.",
    epilog="Start with: bench run --method sid --teacher edm-digits",
    no_args_is_help=True,
    **STYLE | {"add_completion": True},
)
for name, help_line in COMMANDS.items():
    app.command(name, help=help_line)(lambda: None)  # LazyGroup finds the function in its module


def _print_version(wish: bool) -> None:
    if wish:
        typer.echo(f"distill-bench {installed_version('distill-bench')}")
        raise typer.Exit


@app.callback()
def global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command's name."""


def main() -> None:
    """Run the command line.

    An error is one sentence on stderr and an exit code: 1 failed, 2 usage, 75 interrupted.
    """
    if (question := os.environ.get(COMPLETING)) is not None:
        from bench.cli.completion import answer  # as above

        answer(app, question)
    try:
        app(prog_name="bench")
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if not isinstance(error, BenchError):
            again = f"bench --debug {' '.join(sys.argv[1:])}"
            typer.echo(f"error: {type(error).__name__}: {error}; `{again}` shows where.", err=True)
            sys.exit(1)
        prefix = "" if isinstance(error, Interrupted) else "error: "
        typer.echo(f"{prefix}{error}", err=True)
        sys.exit(error.exit_code)
