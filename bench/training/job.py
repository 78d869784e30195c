"""From a request to the objects that carry it out: the names looked up, the settings validated, the recipe settled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench import registry
from bench import settings as hyperparameters
from bench.environment import choose_device, choose_precision
from bench.errors import UsageError
from bench.evaluation.plan import Measuring, identity, settle, subject, wanted
from bench.factory import known_before_loading, teacher_named
from bench.files.assets import fetch
from bench.files.atomic import content_digest, sha256
from bench.plugin.method import Method, Settings
from bench.plugin.protocol import PublishedStatistics
from bench.plugin.teacher import Teacher
from bench.runs.budget import Budget
from bench.runs.recipe import EvaluationPlan, Recipe, Request
from bench.training.fingerprint import classes_of, files_behind, source_digest, teacher_code, teacher_files
from bench.training.requirements import Supplies, find_supplies

HALF_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "bf16-forced": torch.bfloat16}
POINTS = 8
"""Evaluation points of a training run unless asked otherwise: zero and seven logarithmically spaced ones."""


@dataclass(frozen=True)
class Job:
    """A recipe with the objects that its names stand for."""

    request: Request
    recipe: Recipe
    method_class: type[Method]
    settings: Settings
    chosen: hyperparameters.Hyperparameters
    """Where the settings come from, and what went into them."""
    teacher: Teacher
    budget: Budget | None
    supplies: Supplies
    """What the method requires, found."""
    measuring: Measuring | None
    """What is measured, and by which protocol."""
    device: torch.device
    inputs: dict[str, str]
    """SHA-256 of every file that the request's meaning depends on."""


def resolve(request: Request, *, to_train: bool = True) -> Job:
    """Settle every choice. Raises UsageError for a name that does not exist or a value out of range; writes nothing.

    What training alone requires is not looked for unless it is ``to_train``.
    """
    for plugin in request.plugins:
        registry.load_plugin(plugin)
    method_class: type[Method] = registry.get("method", request.method)
    teacher_class, source = teacher_named(request.teacher)
    chosen = hyperparameters.resolve(request.method, method_class, request.teacher, request.settings)
    budget = wanted_budget(request, method_class, chosen.budget)
    device = choose_device(request.device)
    precision = choose_precision(chosen.settings.precision, device)
    settings = chosen.settings.model_copy(update={"precision": precision})
    path = Path(request.teacher_path) if request.teacher_path else None
    if request.eval != [] and known_before_loading(teacher_class):  # before anything is downloaded
        settle(wanted(request), subject(teacher_class, request.teacher))
    if precision == "bf16" and method_class.score_difference:
        raise UsageError(
            f"the gradient of {request.method!r} is a small difference of two networks, which bf16 rounds away; use --precision "
            "fp16 or tf32, or bf16-forced if that is what you study."
        )
    teacher = teacher_class(path, source)
    if precision in HALF_TYPES:
        teacher.use_half(HALF_TYPES[precision])
    digest = teacher.digest()
    if request.teacher_digest not in (None, digest):
        raise UsageError(
            f"the weights of {request.teacher!r} are {digest[:12]}, the recipe was made with "
            f"{str(request.teacher_digest)[:12]}; give those with --teacher-path, or leave the recipe file out."
        )
    requirements = method_class.requires(settings) if to_train else ()
    supplies = find_supplies(request.method, requirements, teacher, request.teacher, request.data)
    for kind, wanted_digest in request.supplies.items():
        if supplies.digests.get(kind) != wanted_digest:
            raise UsageError(
                f"the recipe was made with other {kind} content ({wanted_digest[:12]}) than is found now "
                f"({str(supplies.digests.get(kind))[:12]}); give that, or leave the recipe file out."
            )
    measuring, plan = _evaluation(request, teacher, trains=method_class.trains)
    recipe = Recipe(
        method=request.method,
        method_digest=source_digest(files_behind([method_class])),
        teacher=request.teacher,
        seed=request.seed,
        budget=str(budget) if budget else None,
        settings=settings.model_dump(mode="json"),
        evaluation=plan,
        teacher_digest=digest,
        teacher_code=teacher_code(teacher),
        teacher_path=str(path) if path else None,
        data=request.data,
        supplies=supplies.digests,
        plugins={p: sha256(Path(p)) for p in request.plugins},
    )
    files = [*files_behind([method_class]), *teacher_files(teacher), *supplies.files]
    inputs = _inputs(files, hyperparameters.card_file(method_class), recipe, measuring, teacher)
    return Job(request, recipe, method_class, settings, chosen, teacher, budget, supplies, measuring, device, inputs)


def wanted_budget(request: Request, method_class: type[Method], default: str | None) -> Budget | None:
    """The budget asked for, or the method's own; None for what does not train. Raises UsageError for one that cannot be."""
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


def _evaluation(request: Request, teacher: Teacher, *, trains: bool) -> tuple[Measuring | None, EvaluationPlan | None]:
    """What is measured, and the plan of a run."""
    if request.eval == []:
        return None, None
    measuring = settle(wanted(request), subject(teacher, request.teacher))
    if not measuring.feature_metrics:
        raise UsageError(f"a run is judged by its images, given {', '.join(measuring.metrics)}; add a metric such as fid.")
    for asset in measuring.assets:
        fetch(asset)
    plan = EvaluationPlan(
        protocol=request.protocol or teacher.protocol or "",
        samples=measuring.protocol.samples,
        metrics=list(measuring.metrics),
        repeats=measuring.repeats,
        points=(request.eval_points or POINTS) if trains else 1,
        fast=measuring.protocol.fast,
        extractors={name: extractor.digest() for name, extractor in measuring.load_extractors().items()},
        extractor_path=request.extractor_path,
        reference=request.reference,
        references=identity(measuring),
        code=source_digest(files_behind(classes_of(measuring))),
    )
    return measuring, plan


def _inputs(sources: list[Path], card: Path, recipe: Recipe, measuring: Measuring | None, teacher: Teacher) -> dict[str, str]:
    files = [card, *sources, *map(Path, recipe.plugins)]
    shipped = [getattr(teacher, "shipped", None)]
    if measuring:
        extractors = measuring.extractors.values()
        files += files_behind(classes_of(measuring))
        files += [asset.path for asset in measuring.assets]
        files += [Path(place) for place in measuring.sources if not isinstance(place, PublishedStatistics)]
        files += [measuring.extractor_path] if measuring.extractor_path else []
        shipped += [getattr(extractor, "shipped", None) for extractor in extractors]
    files += [Path(recipe.teacher_path)] if recipe.teacher_path else []
    files += teacher.files
    files += [f for f in shipped if f]
    return {str(f): content_digest(f) for f in sorted(set(files)) if f.exists()}
