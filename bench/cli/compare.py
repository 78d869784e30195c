"""``bench compare``: methods on teachers with several seeds, at matched compute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import Device, ExtractorPath, Fast, Plugins, Reference, Results, TeacherPath, check_format, names


def compare(
    suite: Annotated[Path | None, typer.Argument(metavar="[SUITE.yaml]", help="A suite file; flags override it.")] = None,
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Methods, as in `bench list methods`.")] = None,
    teacher: Annotated[str | None, typer.Option(metavar="T,U", help="Teachers, as in `bench list teachers`.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="AXIS=AMOUNT", help="The same for all: flops, images, updates or seconds [default: each method's]."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N|A,B", help="How many seeds, or which. [default: 3]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One hyper-parameter of all methods; repeatable.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time [default: one a GPU, or one a processor core].")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Take up again what failed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the grid with estimated costs; run nothing.")] = False,
    eval_: Annotated[
        str | None, typer.Option("--eval", metavar="METRICS", help="fid,is or none [default: the protocol's].")
    ] = None,
    eval_samples: Annotated[int | None, typer.Option(metavar="N", help="Images per evaluation.")] = None,
    eval_repeats: Annotated[int | None, typer.Option(metavar="R", help="Replicates of the final evaluation.")] = None,
    eval_points: Annotated[int | None, typer.Option(metavar="N", help="Evaluations, log-spaced. [default: 8]")] = None,
    protocol: Annotated[str | None, typer.Option(help="Evaluation protocol [default: the teacher's].")] = None,
    reference: Reference = None,
    extractor_path: ExtractorPath = None,
    fast: Fast = False,
    data: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Real images for the methods that need them.")] = None,
    teacher_path: TeacherPath = None,
    plugin: Plugins = None,
    device: Device = "auto",
    results: Results = None,
    format_: Annotated[
        str, typer.Option("--format", help="Of the table at the end: terminal, md, latex, csv or json.")
    ] = "terminal",
) -> None:
    """Carry out a grid of runs at matched compute and print its table. The same command goes on where it was stopped.

    Example: bench compare suites/digits.yaml

    Or without a file: bench compare --methods sid,diff-instruct,dmd --teacher edm-digits --budget flops=2T --seeds 3
    """
    from bench import distributed
    from bench.files.atomic import require_writable
    from bench.render.tables.table import FORMATS, render
    from bench.runs.recipe import parse_setting
    from bench.runs.store import results_folder
    from bench.runs.suite import make_suite, read_suite

    check_format(format_, FORMATS)
    distributed.require_one("bench compare")
    given: dict[str, Any] = {
        "methods": names(methods),
        "teachers": names(teacher),
        "seeds": _seeds(seeds),
        "budget": budget,
        "eval": [] if eval_ == "none" else names(eval_),
        "eval_samples": eval_samples,
        "eval_repeats": eval_repeats,
        "eval_points": eval_points,
        "protocol": protocol,
        "reference": reference,
        "extractor_path": extractor_path,
        "fast": fast or None,
        "data": data,
        "teacher_path": teacher_path,
        "plugins": plugin,
        "device": None if device == "auto" else device,
    }
    given = {name: value for name, value in given.items() if value is not None}
    chosen = read_suite(suite, given) if suite else make_suite(given, "without a suite file the comparison")
    if set_:
        common = dict(parse_setting(text) for text in set_)
        entries = [entry.model_copy(update={"settings": entry.settings | common}) for entry in chosen.methods]
        chosen = chosen.model_copy(update={"methods": entries})
    folder = results_folder(results)
    if dry_run:
        from bench.render.terminal.estimate import grid_estimate
        from bench.training.estimate import estimate_grid
        from bench.training.job import check_suite
        from bench.training.launch import runs_at_once, visible_gpus

        requests = check_suite(chosen)
        at_once = processes or runs_at_once(visible_gpus(chosen.device))
        typer.echo(grid_estimate(estimate_grid(requests, folder), at_once))
        return
    from bench.api import carry_out_suite
    from bench.errors import BenchError
    from bench.leaderboard.leaderboard import leaderboard
    from bench.render.terminal.overview import Overview
    from bench.runs.grid import budget_mismatches, labels

    require_writable(folder, "results folder")
    with Overview() as overview:
        runs = carry_out_suite(chosen, folder, processes, retry=retry, observe=overview)
    records = [run.record for run in runs if run.state == "done" and run.record is not None]
    if records:
        typer.echo(render(leaderboard(records), format_))
    for sentence in budget_mismatches(runs):
        typer.echo(f"note: {sentence}.", err=True)
    failed = [(run, label) for run, label in zip(runs, labels(runs), strict=True) if run.state == "failed"]
    for run, label in failed:
        typer.echo(f"note: {label} seed {run.request.seed} failed: {run.error}", err=True)
    if failed:
        raise BenchError(f"{len(failed)} of {len(runs)} runs failed; `--retry` takes them up again.")


def _seeds(given: str | None) -> list[int] | None:
    """``3`` is 0, 1, 2; ``0,5`` are those. Raises UsageError for what is neither."""
    from bench.errors import UsageError

    if given is None:
        return None
    parts = given.split(",")
    if not all(part.strip().isdigit() for part in parts) or (len(parts) == 1 and int(parts[0]) == 0):
        raise UsageError(f"--seeds {given!r} is neither a number of seeds above 0, such as 3, nor a list of them, such as 0,1,2.")
    return list(range(int(parts[0]))) if len(parts) == 1 else [int(part) for part in parts]
