"""Where and how the runs of a grid are started: the flags, and what they mean."""

from typing import Annotated, Any

import typer

from bench.cli.options import one_of
from bench.errors import UsageError
from bench.launching.job_array import parse_option

LAUNCHERS = ("local", "slurm")


class LaunchFlags:
    """The flags that say where and how the runs of a grid are started."""

    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Runs at a time [default: one a GPU, or one a processor core; on a cluster all].",
        ),
    ]
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            min=1,
            metavar="N",
            help="GPUs of one run, which share its batches; on a cluster of each of its nodes. [default: 1]",
        ),
    ]
    retry: Annotated[bool | None, typer.Option("--retry", help="Take up again what failed before.")]
    launcher: Annotated[
        str | None,
        typer.Option(
            metavar="local|slurm",
            help="Processes of this machine, or a job array of a cluster. [default: local]",
        ),
    ]
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of sbatch for each run: time=4:00:00, partition=gpu, mem=40G; repeatable.",
        ),
    ]


class SubmitFlags(LaunchFlags):
    """Those, and the flags that leave the runs of a grid to a cluster."""

    no_wait: Annotated[
        bool | None, typer.Option("--no-wait", help="Submit the runs to the cluster and end.")
    ]
    print_sbatch: Annotated[
        bool | None,
        typer.Option(
            "--print-sbatch", help="Print a script for sbatch that carries out the grid; start nothing."
        ),
    ]


def launch_options(flags: dict[str, Any], print_sbatch: bool) -> dict[str, Any]:
    """Take the flags of launching out of ``flags``, and return how the grid is launched.

    Raises UsageError for flags of a cluster without one.
    """
    launch: dict[str, Any] = {name: flags.pop(name) for name in ("processes", "retry") if name in flags}
    launch["gpus_per_run"] = flags.pop("gpus", 1)
    launcher = one_of("launcher", flags.pop("launcher", "local"), LAUNCHERS)
    options, no_wait = flags.pop("slurm", None), flags.pop("no_wait", False)
    if launcher == "slurm" or print_sbatch:
        launch["slurm"] = dict(parse_option(text) for text in options or [])
    elif options or no_wait:
        raise UsageError("--slurm and --no-wait are for a cluster; give --launcher slurm with them.")
    return launch | ({"wait": False} if no_wait and not print_sbatch else {})
