"""The command line, ``bench``: one module a command. Modules that compute are imported when their command runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from bench.cli import compare, doctor, eval_, fetch, list_, merge, plot, report, run, sample, show, stats, table, train, verify
from bench.errors import BenchError, Interrupted

app = typer.Typer(
    name="bench",
    help="Distil pretrained diffusion models into one-step generators, and compare the methods at matched compute.",
    epilog="Start with: bench run --method sid --teacher edm-digits",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
commands: dict[str, Callable[..., None]] = {
    "run": run.run,
    "compare": compare.compare,
    "table": table.table,
    "plot": plot.plot,
    "report": report.report,
    "merge": merge.merge,
    "list": list_.list_,
    "show": show.show,
    "sample": sample.sample,
    "eval": eval_.eval_,
    "verify": verify.verify,
    "train": train.train,
    "stats": stats.stats,
    "fetch": fetch.fetch,
    "doctor": doctor.doctor,
}
for name, command in commands.items():
    app.command(name)(command)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"distill-bench {version('distill-bench')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the command's name."""


def main() -> None:
    """Run the command line; an error is one sentence on stderr and an exit code: 1 failed, 2 usage, 75 interrupted."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if not isinstance(error, BenchError):
            typer.echo(f"error: {type(error).__name__}: {error}; `bench --debug {' '.join(sys.argv[1:])}` shows where.", err=True)
            sys.exit(1)
        prefix = "" if isinstance(error, Interrupted) else "error: "
        typer.echo(f"{prefix}{error}", err=True)
        sys.exit(error.exit_code)
