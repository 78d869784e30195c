"""``bench run``: distil one teacher by one method, and measure it on the way."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import distributed
from bench.api import carry_out
from bench.cli.options import (
    EvaluationFlags,
    Gpus,
    Json,
    Results,
    RunFlags,
    require_one_gpu,
    takes,
    without_none,
)
from bench.errors import UsageError
from bench.files.atomic import write_atomic
from bench.files.paths import written_path
from bench.files.streams import stdout_to_stderr
from bench.render.terminal.estimate import run_estimate
from bench.render.terminal.live import RunObserver
from bench.render.terminal.notes import note
from bench.render.terminal.result import print_result
from bench.runs.recipe import Request, make_request, parse_setting, read_recipe, read_recorded
from bench.runs.store import find_finished, find_teacher


@takes(RunFlags, EvaluationFlags)
def command(
    method: Annotated[str | None, typer.Option(help="Method, as in `bench list methods`.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher, as in `bench list teachers`.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of training. [default: 0]")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="One hyper-parameter; repeatable."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            parser=written_path, metavar="FILE", help="A run's recipe.yaml; flags override it."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="auto, fp32, tf32, fp16 or bf16; short for --set precision=..."),
    ] = None,
    *,
    flags: dict[str, Any],
    gpus: Gpus = 1,
    no_teacher: Annotated[
        bool,
        typer.Option("--no-teacher", help="Do not measure the teacher first where it has not been."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print recipe, evaluation points and estimated cost; write and fetch nothing.",
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, even if the run is finished.")
    ] = False,
    results: Results,
    format_: Json = "terminal",
    record_file: Annotated[Path | None, typer.Option("--record", hidden=True)] = None,
) -> None:
    """Distil a teacher by a method. The same command continues an interrupted run and answers
    at once from a finished one.

    Example: bench run --method sid --teacher edm-digits --budget images=200k --set alpha=1.0

    On several machines: torchrun --nnodes 2 --nproc_per_node 8 ... -m bench run ...
    """
    flags |= without_none({"method": method, "teacher": teacher, "seed": seed})
    request = _make_request(flags, set_ or [], precision, recipe)
    if dry_run:
        require_one_gpu(gpus)
        from bench.training.estimate import estimate_run  # torch: a finished run needs none

        estimate = estimate_run(request)
        note(*filter(None, [estimate.note]))
        typer.echo(run_estimate(estimate))
        return
    if gpus > 1 and distributed.world_size() == 1 and (fresh or not find_finished(request, results)):
        from bench.launching.ranks import require_gpus, run_together  # torch, as above

        require_gpus(gpus, request.device)
        command = [sys.executable, "-P", "-m", "bench", *sys.argv[1:]]
        raise typer.Exit(run_together(command, gpus, dict(os.environ)))
    with stdout_to_stderr(), RunObserver() as observer:
        record = carry_out(request, results, fresh=fresh, with_teacher=not no_teacher, observe=observer)
    if not distributed.is_main():
        return
    own = None
    if record.method != "teacher":
        own = find_teacher(results, read_recorded(record.recipe, f"the run {record.run_id}"))
    if observer.worked:
        from bench.render.figures.figure import save_curve  # matplotlib

        save_curve(record, own, results / record.run_id)
    else:
        typer.echo("this run is finished; --fresh repeats it.", err=True)
    if record_file is not None:  # of a launcher
        write_atomic(record_file, record.model_dump_json())
    if format_ == "json":
        typer.echo(record.model_dump_json(indent=1))
    else:
        print_result(record, results, own)


def _make_request(
    flags: dict[str, Any], settings: list[str], precision: str | None, recipe: Path | None
) -> Request:
    """Make a request of the recipe file, if there is one, and of the flags, which override it."""
    fields = (read_recipe(recipe) if recipe else {}) | flags
    fields["settings"] = (fields.get("settings") or {}) | dict(parse_setting(text) for text in settings)
    if precision is not None:
        fields["settings"]["precision"] = precision
    for name in ("method", "teacher"):
        if not fields.get(name):
            raise UsageError(f"--{name} is missing; `bench list {name}s` shows what there is.")
    return make_request(**fields)
