"""``bench sweep``: trials of a method's settings, and the best of them as its card."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import distributed
from bench.cli.launch import LaunchFlags, launch_options
from bench.cli.options import EvaluationFlags, Json, Results, RunFlags, names, one_of, takes
from bench.errors import BenchError, UsageError
from bench.files.atomic import require_writable, write_atomic
from bench.files.documents import dump_yaml
from bench.files.paths import written_path
from bench.ranking.halving import Halving
from bench.ranking.trials import Sweep
from bench.render.terminal.notes import note
from bench.render.terminal.overview import Overview
from bench.render.terminal.trials import halving_table, trials_table
from bench.runs.card import Card, read_card
from bench.runs.halving import Shape
from bench.runs.recipe import parse_setting
from bench.runs.search import MOST_TRIALS, WAYS, Space, parse_range

TRIALS = 8
"""Trials of a random search unless more are asked for."""


@takes(RunFlags, EvaluationFlags, LaunchFlags)
def command(
    method: Annotated[
        str,
        typer.Option(help="The method, as in `bench list methods`; several for halving, as sid,dmd."),
    ],
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
        int | None,
        typer.Option(min=1, max=MOST_TRIALS, help="How many settings are tried. [default: 8]"),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="random|grid|optuna|halving",
            help="How they are chosen; a grid takes all, halving many at a part of the budget and the best "
            "of them at more.",
        ),
    ] = "random",
    effort: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS=AMOUNT",
            help="Of halving: what all trials of a method may cost together [default: 6 budgets].",
        ),
    ] = None,
    eta: Annotated[
        int | None,
        typer.Option(min=2, help="Of halving: the factor from one rung to the next. [default: 3]"),
    ] = None,
    rungs: Annotated[
        int | None, typer.Option(min=1, max=9, help="Of halving: how many. [default: 3]")
    ] = None,
    last_seeds: Annotated[
        int | None,
        typer.Option(min=1, max=99, help="Of halving: seeds of the last rung. [default: 2]"),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="That of every trial, of halving that of the first rung; not one that a table will show.",
        ),
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
            help="Write the method's card with the winner's settings, each with the effort behind it; of "
            "several methods into a folder.",
        ),
    ] = None,
    *,
    flags: dict[str, Any],
    results: Results,
    format_: Json = "terminal",
) -> None:
    """Try settings of a method, drawn from a search space, at seeds of their own.

    Every trial is a run like any other: the same command, also with more trials, goes on where it was
    stopped. The table has the trials from best to worst, and how good the best of fewer would have been.
    Halving gives each method the same effort, takes its present recipe to the last rung, and judges there by
    the mean over seeds.

    Example: bench sweep --method sid --teacher edm-digits --search lr=5e-4..4e-3 --search alpha=1.0,1.2
    --trials 8 --budget flops=200G
    """
    distributed.require_one("bench sweep")
    one_of("way of choosing settings", by, WAYS)
    methods = names(method, "methods", "sid,dmd") or []
    shape = {"eta": eta, "rungs": rungs, "last_seeds": last_seeds}
    given = {name: value for name, value in shape.items() if value is not None}
    _require_one_procedure(by, methods, trials, [*(["effort"] if effort else []), *given])
    space = _space(search) if search else None
    require_writable(results, "results folder")
    bases = {name: _base(card, name, several=len(methods) > 1) for name in methods} if card else {}
    common: dict[str, Any] = {
        "search": space,
        "settings": dict(parse_setting(text) for text in set_ or []),
        "results": results,
        **launch_options(flags, print_sbatch=False),
        **flags,
    }
    # Here because of torch.
    from bench.halving import halve
    from bench.tuning import sweep

    done: list[Sweep] | list[Halving]
    with Overview() as overview:
        if by == "halving":
            shaped = Shape(seed=seed, **given)
            done = halve(methods, teacher, effort=effort, shape=shaped, observe=overview, **common)
        else:
            tried = trials or TRIALS
            done = [
                sweep(methods[0], teacher, trials=tried, by=by, seed=seed, observe=overview, **common)
            ]
    problems = _show(done, format_)
    for one in done:
        if one.method in bases and one.method not in problems:
            _write(one, *bases[one.method])
    if problems:
        raise BenchError("; ".join(problems.values()))


def _require_one_procedure(
    by: str, methods: list[str], trials: int | None, of_halving: list[str]
) -> None:
    """Raise UsageError for flags of another procedure than the one that is asked for."""
    if by == "halving" and trials is not None:
        raise UsageError(
            f"--trials {trials} is not for halving, whose effort says how many; give --effort."
        )
    if by != "halving" and of_halving:
        flag = of_halving[0].replace("_", "-")
        raise UsageError(f"--{flag} is for halving, given --by {by}; give --by halving with it.")
    if by != "halving" and len(methods) > 1:
        raise UsageError(
            f"{len(methods)} methods are given, expected one; --by halving tunes several at once."
        )


def _show(done: list[Sweep] | list[Halving], format_: str) -> dict[str, str]:
    """Print what was found, and return why nothing was for the methods of which all trials failed."""
    problems, shown = dict[str, str](), []
    for one in done:
        try:
            if format_ == "json":
                shown.append(_facts(one) if isinstance(one, Sweep) else _halving_facts(one))
            else:
                typer.echo(trials_table(one) if isinstance(one, Sweep) else halving_table(one) + "\n")
        except BenchError as error:
            problems[one.method] = str(error)
    if format_ == "json" and shown:
        single = isinstance(done[0], Sweep)
        typer.echo(json.dumps(shown[0] if single else shown, indent=1))
    return problems


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


def _halving_facts(done: Halving) -> dict[str, Any]:
    rounds = [
        {
            "budget": str(one.rung.budget),
            "seeds": list(one.rung.seeds),
            "trials": [
                {
                    "trial": standing.number,
                    "settings": dict(standing.settings),
                    "value": standing.value,
                    "values": standing.values,
                    "run_ids": [t.record.run_id if t.record else None for t in standing.trials],
                    "errors": [t.error for t in standing.trials if t.error],
                }
                for standing in done.ranked(one)
            ],
        }
        for one in done.rounds
    ]
    return {
        "method": done.method,
        "effort": str(done.effort),
        "summary": done.summary,
        "metric": done.metric,
        "spent": {axis: done.spent(axis) for axis in ("flops", "seconds")},
        "expected_best": done.expected_best(),
        "winner": {"trial": done.best.number, "settings": dict(done.best.settings)},
        "rungs": rounds,
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


def _base(card: Path, method: str, *, several: bool) -> tuple[Card | None, Path]:
    """Return the card that will be written anew, if it is there, and its file."""
    file = card / f"{method.replace('-', '_')}.yaml" if several else card
    require_writable(file.parent, "folder")
    return _read(file), file


def _write(done: Sweep | Halving, base: Card | None, file: Path) -> None:
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
