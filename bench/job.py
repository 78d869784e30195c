"""From a request to the objects that carry it out: the names looked up, the settings validated, the recipe settled."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import hyperparameters, registry
from bench.budget import Budget
from bench.errors import UsageError
from bench.files import sha256
from bench.method import Method, Settings
from bench.protocol import Protocol
from bench.recipe import EvaluationPlan, Recipe, Request
from bench.teacher import Teacher

POINTS = 8
"""Evaluation points of a training run unless asked otherwise: zero and seven logarithmically spaced ones."""


@dataclass(frozen=True)
class Job:
    """A recipe with the objects that its names stand for."""

    request: Request
    recipe: Recipe
    method_class: type[Method]
    settings: Settings
    sources: dict[str, str]
    """Where each setting's value comes from."""
    teacher: Teacher
    budget: Budget | None
    protocol: Protocol | None
    tuning: dict[str, Any]
    """How many runs were tried before these settings, and how."""
    inputs: dict[str, str]
    """SHA-256 of every file that the request's meaning depends on."""


def resolve(request: Request) -> Job:
    """Settle every choice. Raises UsageError for a name that does not exist or a value out of range; writes nothing."""
    for plugin in request.plugins:
        registry.load_plugin(plugin)
    method_class: type[Method] = registry.get("method", request.method)
    teacher_class: type[Teacher] = registry.get("teacher", request.teacher)
    chosen = hyperparameters.resolve(request.method, method_class, request.teacher, request.settings)
    budget = _budget(request, method_class, chosen.budget)
    protocol = _protocol(request, teacher_class)
    path = Path(request.teacher_path).expanduser().absolute() if request.teacher_path else None
    teacher = teacher_class(path)
    recipe = Recipe(
        method=request.method,
        teacher=request.teacher,
        seed=request.seed,
        budget=str(budget) if budget else None,
        settings=chosen.settings.model_dump(mode="json"),
        evaluation=_plan(request, teacher_class, protocol, trains=method_class.trains) if protocol else None,
        teacher_digest=teacher.digest(),
        teacher_path=str(path) if path else None,
        plugins={str(p): sha256(p) for p in (Path(name).expanduser().absolute() for name in request.plugins)},
    )
    inputs = _inputs(recipe, method_class, teacher_class, protocol)
    return Job(request, recipe, method_class, chosen.settings, chosen.sources, teacher, budget, protocol, chosen.tuning, inputs)


def _budget(request: Request, method_class: type[Method], default: str | None) -> Budget | None:
    if not method_class.trains:
        if request.budget:
            raise UsageError(
                f"method {request.method!r} does not train and takes no budget, given {request.budget!r}; leave it out."
            )
        return None
    text = request.budget or default
    if text is None:
        raise UsageError(
            f"method {request.method!r} has no default budget for {request.teacher!r}; give one, such as --budget images=200k."
        )
    return Budget.parse(text)


def _protocol(request: Request, teacher_class: type[Teacher]) -> Protocol | None:
    if request.eval == []:
        return None
    protocol: Protocol = registry.get("protocol", request.protocol or teacher_class.protocol)
    for metric in request.eval or ():
        registry.get("metric", metric)
    return protocol.with_samples(request.eval_samples) if request.eval_samples else protocol


def _plan(request: Request, teacher_class: type[Teacher], protocol: Protocol, *, trains: bool) -> EvaluationPlan:
    return EvaluationPlan(
        protocol=request.protocol or teacher_class.protocol,
        samples=protocol.samples,
        metrics=request.eval or list(protocol.metrics),
        repeats=request.eval_repeats or protocol.repeats,
        points=(request.eval_points or POINTS) if trains else 1,
    )


def _inputs(
    recipe: Recipe, method_class: type[Method], teacher_class: type[Teacher], protocol: Protocol | None
) -> dict[str, str]:
    classes: list[type] = [method_class, teacher_class]
    files = [hyperparameters.card_file(method_class), *map(Path, recipe.plugins)]
    if recipe.teacher_path:
        files.append(Path(recipe.teacher_path))
    elif shipped := getattr(teacher_class, "shipped", None):
        files.append(shipped)
    if protocol and recipe.evaluation:
        classes += [registry.get("extractor", protocol.extractor)]
        classes += [registry.get("metric", m) for m in recipe.evaluation.metrics]
        files += [f for f in (protocol.reference, getattr(classes[2], "shipped", None)) if f]
    files += [Path(inspect.getfile(c)) for c in classes]
    return {str(f): sha256(f) for f in sorted(set(files)) if f.is_file()}
