"""``bench run``: distil one teacher by one method, and measure it on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import Device, ExtractorPath, Fast, Json, Plugins, Reference, Results, TeacherPath, check_format, names

if TYPE_CHECKING:
    from bench.runs.recipe import Request


def run(
    method: Annotated[str | None, typer.Option(help="Method, as in `bench list methods`.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher, as in `bench list teachers`.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="AXIS=AMOUNT", help="images, updates, flops or seconds; suffixes k, M, G, T.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of training. [default: 0]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One hyper-parameter; repeatable.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="A run's recipe.yaml; flags override it.")] = None,
    results: Results = None,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, fp32, tf32, fp16 or bf16; short for --set precision=...")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if the run is finished.")] = False,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Real images for the methods that need them [default: the teacher's].")
    ] = None,
    teacher_path: TeacherPath = None,
    plugin: Plugins = None,
    eval_: Annotated[
        str | None, typer.Option("--eval", metavar="METRICS", help="fid,is or none [default: the protocol's].")
    ] = None,
    eval_samples: Annotated[int | None, typer.Option(metavar="N", help="Images per evaluation; part of the protocol.")] = None,
    eval_repeats: Annotated[int | None, typer.Option(metavar="R", help="Disjoint seed ranges of the final evaluation.")] = None,
    eval_points: Annotated[
        int | None, typer.Option(metavar="N", help="Evaluations: at zero, then log-spaced. [default: 8]")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Evaluation protocol [default: the teacher's].")] = None,
    reference: Reference = None,
    extractor_path: ExtractorPath = None,
    fast: Fast = False,
    no_teacher: Annotated[
        bool, typer.Option("--no-teacher", help="Do not measure the teacher first where it has not been.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print recipe, evaluation points and estimated cost; write nothing.")
    ] = False,
    format_: Json = "terminal",
) -> None:
    """Distil a teacher by a method. The same command continues an interrupted run and answers at once from a finished one.

    Example: bench run --method sid --teacher edm-digits --budget images=200k --set alpha=1.0
    """
    from bench import distributed
    from bench.api import carry_out
    from bench.render.terminal.observer import RunObserver
    from bench.runs.recipe import Recipe
    from bench.runs.store import find_teacher, results_folder

    check_format(format_)
    distributed.require_one("bench run")
    given = {
        "method": method,
        "teacher": teacher,
        "budget": budget,
        "seed": seed,
        "data": data,
        "teacher_path": teacher_path,
        "plugins": plugin,
        "eval": None if eval_ is None else [] if eval_ == "none" else names(eval_),
        "eval_samples": eval_samples,
        "eval_repeats": eval_repeats,
        "eval_points": eval_points,
        "protocol": protocol,
        "reference": reference,
        "extractor_path": extractor_path,
        "fast": fast or None,
        "device": device,
    }
    request = _request(given, set_ or [], precision, recipe)
    folder = results_folder(results)
    if dry_run:
        from bench.render.terminal.estimate import run_estimate
        from bench.training.estimate import estimate_run

        typer.echo(run_estimate(estimate_run(request)))
        return
    with RunObserver() as observer:
        record = carry_out(request, folder, fresh=fresh, with_teacher=not no_teacher, observe=observer)
    teacher_record = find_teacher(folder, Recipe.model_validate(record.recipe)) if record.method != "teacher" else None
    if observer.worked:
        from bench.render.figures.figure import save_curve

        save_curve(record, teacher_record, folder / record.run_id)
    else:
        typer.echo("this run is finished; --fresh repeats it.", err=True)
    if format_ == "json":
        typer.echo(record.model_dump_json(indent=1))
        return
    from bench.render.terminal.result import print_result

    print_result(record, folder, teacher_record)


def _request(given: dict[str, Any], settings: list[str], precision: str | None, recipe: Path | None) -> Request:
    """Flags over the recipe file, if there is one."""
    from bench.errors import UsageError
    from bench.runs.recipe import make_request, parse_setting, read_recipe

    fields = read_recipe(recipe) if recipe else {}
    fields |= {name: value for name, value in given.items() if value is not None}
    fields["settings"] = (fields.get("settings") or {}) | dict(parse_setting(text) for text in settings)
    if precision is not None:
        fields["settings"]["precision"] = precision
    for name in ("method", "teacher"):
        if not fields.get(name):
            raise UsageError(f"--{name} is missing; `bench list {name}s` shows what there is.")
    return make_request(**fields)
