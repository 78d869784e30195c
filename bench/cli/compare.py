"""``bench compare``: methods on teachers with several seeds, at matched compute."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import distributed
from bench.api import carry_out_suite, suite_script
from bench.cli.launch import SubmitFlags, launch_options
from bench.cli.options import (
    EvaluationFlags,
    Results,
    RunFlags,
    names,
    one_of,
    require_one_gpu,
    takes,
    without_none,
)
from bench.errors import BenchError, UsageError
from bench.files.atomic import require_writable
from bench.files.paths import written_path
from bench.files.streams import stdout_to_stderr
from bench.ranking.leaderboard import leaderboard
from bench.render.tables.table import FORMATS, render
from bench.render.terminal.estimate import grid_estimate
from bench.render.terminal.notes import note, observe_notes
from bench.render.terminal.overview import Overview
from bench.runs.grid import budget_mismatches, grid_runs, labels, repetitions
from bench.runs.recipe import parse_setting
from bench.runs.suite import MOST_RUNS, Suite, make_suite, read_suite


@takes(RunFlags, EvaluationFlags, SubmitFlags)
def command(
    suite: Annotated[
        Path | None,
        typer.Argument(
            parser=written_path, metavar="[SUITE.yaml]", help="A suite file; flags override it."
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="Methods, as in `bench list methods`.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="T,U", help="Teachers, as in `bench list teachers`.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N|A,B", help="How many seeds, or which. [default: 3]")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="One hyper-parameter of all methods; repeatable."
        ),
    ] = None,
    *,
    flags: dict[str, Any],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the grid with estimated costs; run and fetch nothing."),
    ] = False,
    results: Results,
    format_: Annotated[
        str, typer.Option("--format", help="Of the table at the end: terminal, md, latex, csv or json.")
    ] = "terminal",
) -> None:
    """Carry out a grid of runs at matched compute and print its table. The same command goes
    on where it was stopped.

    Example: bench compare suites/digits.yaml

    Or without a file: bench compare --methods sid,diff-instruct,dmd --teacher edm-digits --budget
    flops=2T --seeds 3

    On a cluster: bench compare suites/digits.yaml --launcher slurm --slurm time=1:00:00 --slurm partition=gpu
    """
    one_of("format", format_, FORMATS)
    distributed.require_one("bench compare")
    print_sbatch = flags.pop("print_sbatch", False)
    launch = launch_options(flags, print_sbatch)
    flags |= without_none(
        {
            "methods": names(methods, "methods", "sid,dmd"),
            "teachers": names(teacher, "teachers", "edm-digits,gaussian"),
            "seeds": _seeds(seeds),
        }
    )
    chosen = (
        read_suite(suite, flags) if suite else make_suite(flags, "without a suite file the comparison")
    )
    chosen = _with_settings(chosen, set_ or [])
    if dry_run:
        require_one_gpu(launch["gpus_per_run"])
        typer.echo(_estimate(chosen, results, launch))
        return
    if print_sbatch:
        typer.echo(suite_script(chosen, results, **launch), nl=False)
        if "time" not in launch["slurm"]:
            note(
                "the script asks for no time limit, so that the cluster's own holds; --slurm time=H:MM:SS"
            )
        return
    require_writable(results, "results folder")
    with stdout_to_stderr(), Overview() as overview:
        runs = carry_out_suite(chosen, results, **launch, observe=overview)
    records = [run.record for run in runs if run.state == "done" and run.record is not None]
    if records:
        typer.echo(render(leaderboard(records), format_))
    note(*(f"{sentence}." for sentence in budget_mismatches(runs)))
    failed = [
        (run, label) for run, label in zip(runs, labels(runs), strict=True) if run.state == "failed"
    ]
    note(*(f"{label} seed {run.request.seed} failed: {run.error}" for run, label in failed))
    if failed:
        raise BenchError(f"{len(failed)} of {len(runs)} runs failed; `--retry` takes them up again.")


def _seeds(text: str | None) -> list[int] | None:
    """Read ``3`` as the seeds 0, 1, 2, and ``0,5`` as those. Raises UsageError for what is neither."""
    if text is None:
        return None
    parts = text.split(",")
    numbers = [int(part) for part in parts if re.fullmatch(r" *[0-9]{1,10} *", part)]
    if len(numbers) < len(parts) or (len(parts) == 1 and not 0 < numbers[0] <= MOST_RUNS):
        raise UsageError(
            f"--seeds {text[:60]!r} is neither a number of seeds above 0 and up to {MOST_RUNS:,}, such as 3, "
            "nor a list of them, such as 0,1,2."
        )
    return numbers if len(parts) > 1 else list(range(numbers[0]))


def _with_settings(suite: Suite, settings: list[str]) -> Suite:
    """Return a suite in which every method has these settings."""
    common = dict(parse_setting(text) for text in settings)
    entries = [entry.model_copy(update={"settings": entry.settings | common}) for entry in suite.methods]
    return suite.model_copy(update={"methods": entries})


def _estimate(suite: Suite, results: Path, launch: dict[str, Any]) -> str:
    # Here because of torch, without which help is quick.
    from bench.launching.local import runs_at_once, visible_gpus
    from bench.training.estimate import estimate_grid
    from bench.training.job import check_suite

    runs = grid_runs(check_suite(suite, observe_notes), results)
    note(*(f"{sentence}." for sentence in repetitions(runs)))
    at_once = launch.get("processes") or (
        len(runs)
        if "slurm" in launch
        else runs_at_once(visible_gpus(suite.device), launch["gpus_per_run"])
    )
    return grid_estimate(estimate_grid(runs), at_once)
