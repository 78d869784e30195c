"""``bench sweep``: trials of a method's settings, and the best of them as its card."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import distributed
from bench.cli.launch import LaunchFlags, launch_options
from bench.cli.options import EvaluationFlags, Json, Results, RunFlags, takes
from bench.errors import UsageError
from bench.files.atomic import require_writable, write_atomic
from bench.files.documents import dump_yaml
from bench.files.paths import written_path
from bench.ranking.trials import Sweep
from bench.render.terminal.notes import note
from bench.render.terminal.overview import Overview
from bench.render.terminal.trials import trials_table
from bench.runs.card import Card, read_card
from bench.runs.recipe import parse_setting
from bench.runs.search import MOST_TRIALS, Space, parse_range


@takes(RunFlags, EvaluationFlags, LaunchFlags)
def command(
    method: Annotated[str, typer.Option(help="The method, as in `bench list methods`.")],
    teacher: Annotated[str, typer.Option(help="The teacher, as in `bench list teachers`.")],
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B|NAME=LOW..HIGH",
            help="Values of a setting, or all numbers between two, evenly in their logarithm where they are "
            "above 0, whole if both are written so; repeatable [default: the space of the method's card].",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=MOST_TRIALS, help="How many settings are tried.")
    ] = 8,
    by: Annotated[
        str, typer.Option(metavar="random|grid|optuna", help="How they are chosen; a grid takes all.")
    ] = "random",
    seed: Annotated[
        int, typer.Option(min=0, help="That of every trial; not one of those that a table will show.")
    ] = 1000,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of all trials; repeatable."),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            parser=written_path,
            metavar="FILE.yaml",
            help="Write the method's card with the winner's settings, each with the effort behind it.",
        ),
    ] = None,
    *,
    flags: dict[str, Any],
    results: Results,
    format_: Json = "terminal",
) -> None:
    """Try settings of a method, drawn from a search space, at one budget and a seed of their own.

    Every trial is a run like any other: the same command, also with more trials, goes on where it was
    stopped. The table has the trials from best to worst, and how good the best of fewer would have been.

    Example: bench sweep --method sid --teacher edm-digits --search lr=5e-4..4e-3 --search alpha=1.0,1.2
    --trials 8 --budget flops=200G
    """
    distributed.require_one("bench sweep")
    space = _space(search) if search else None
    require_writable(results, "results folder")
    base = None
    if card:
        require_writable(card.parent, "folder")
        base = _read(card)
    # Here because of torch.
    from bench.tuning import sweep

    with Overview() as overview:
        done = sweep(
            method,
            teacher,
            search=space,
            trials=trials,
            by=by,
            seed=seed,
            settings=dict(parse_setting(text) for text in set_ or []),
            results=results,
            observe=overview,
            **launch_options(flags, print_sbatch=False),
            **flags,
        )
    typer.echo(json.dumps(_facts(done), indent=1) if format_ == "json" else trials_table(done))
    if card:
        _write(done, base, card)


def _facts(done: Sweep) -> dict[str, Any]:
    return {
        "effort": done.effort,
        "metric": done.metric,
        "expected_best": done.expected_best(),
        "trials": [
            {
                "settings": dict(trial.settings),
                "value": done.value(trial),
                "run_id": trial.record.run_id if trial.record else None,
                "error": trial.error or None,
            }
            for trial in done.ranked
        ],
    }


def _space(search: list[str]) -> Space:
    """Read the ranges. Raises UsageError for two of one setting."""
    ranges = [parse_range(text) for text in search]
    space = dict(ranges)
    for name in space:
        if (count := sum(name == other for other, _ in ranges)) > 1:
            raise UsageError(
                f"--search gives {name} {count} ranges, expected one; list its values in it."
            )
    return space


def _read(file: Path) -> Card | None:
    """Read the card that will be written anew, before any work, and say what of it will be lost."""
    if not file.exists():
        return None
    card = read_card(file)
    if re.search(r"(^|\s)#", file.read_text(encoding="utf-8")):
        note(f"{file} will be written anew, without its comments.")
    return card


def _write(done: Sweep, base: Card | None, file: Path) -> None:
    """Write the card of the winner: what the file has said before, or else the method's own card, with
    the winner's settings in place of the teacher's.
    """
    from bench import registry  # as above
    from bench.settings import card

    written = done.card(base or card(registry.methods.get(done.method))).model_dump(
        exclude_defaults=True
    )
    write_atomic(file, dump_yaml(written, width=110))
    note(f"{file} has the settings of the best trial for {done.teacher}.")
