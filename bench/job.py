"""From a request to the objects that carry it out: the names looked up, the settings validated, the recipe settled."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import hyperparameters, registry
from bench.budget import Budget
from bench.environment import choose_device, choose_precision
from bench.errors import UsageError
from bench.files import sha256
from bench.method import Method, Settings
from bench.protocol import FeatureExtractor, Metric, Protocol
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
    chosen: hyperparameters.Hyperparameters
    """Where the settings come from, and what went into them."""
    teacher: Teacher
    budget: Budget | None
    protocol: Protocol | None
    device: torch.device
    inputs: dict[str, str]
    """SHA-256 of every file that the request's meaning depends on."""


def resolve(request: Request) -> Job:
    """Settle every choice. Raises UsageError for a name that does not exist or a value out of range; writes nothing."""
    for plugin in request.plugins:
        registry.load_plugin(plugin)
    method_class: type[Method] = registry.get("method", request.method)
    teacher_class, source = teacher_named(request.teacher)
    chosen = hyperparameters.resolve(request.method, method_class, request.teacher, request.settings)
    budget = _budget(request, method_class, chosen.budget)
    device = choose_device(request.device)
    precision = choose_precision(chosen.settings.precision, device)
    settings = chosen.settings.model_copy(update={"precision": precision})
    path = Path(request.teacher_path) if request.teacher_path else None
    if request.eval != [] and known_before_loading(teacher_class):  # before anything is downloaded
        choose_protocol(request.protocol, teacher_class, request.teacher, request.eval, request.eval_samples)
    if precision == "fp16" and method_class.trains:  # a mean over pixels and a large batch fall below its range
        raise UsageError("training in fp16 is not in this version, which has no loss scaling; use --precision tf32.")
    teacher = teacher_class(path, source)
    if precision == "fp16":
        teacher.use_half()
    digest = teacher.digest()
    if request.teacher_digest not in (None, digest):
        raise UsageError(
            f"the weights of {request.teacher!r} are {digest[:12]}, the recipe was made with "
            f"{str(request.teacher_digest)[:12]}; give those with --teacher-path, or leave the recipe file out."
        )
    protocol, plan = _evaluation(request, teacher, trains=method_class.trains)
    recipe = Recipe(
        method=request.method,
        method_digest=_source_digest(_own_files([method_class])),
        teacher=request.teacher,
        seed=request.seed,
        budget=str(budget) if budget else None,
        settings=settings.model_dump(mode="json"),
        evaluation=plan,
        teacher_digest=digest,
        teacher_code=_teacher_code(teacher),
        teacher_path=str(path) if path else None,
        plugins={p: sha256(Path(p)) for p in request.plugins},
    )
    files = [*_own_files([method_class]), *_teacher_files(teacher)]
    inputs = _inputs(files, hyperparameters.card_file(method_class), recipe, protocol, teacher)
    return Job(request, recipe, method_class, settings, chosen, teacher, budget, protocol, device, inputs)


def teacher_named(name: str) -> tuple[type[Teacher], str]:
    """The class behind ``NAME`` or ``NAME:SOURCE``, and the source. Raises UsageError for a source too many or missing."""
    base, _, source = name.partition(":")
    teacher_class: type[Teacher] = registry.get("teacher", base)
    if source and not teacher_class.takes_source:
        raise UsageError(f"the teacher {base!r} stands for one model, given {name!r}; leave the colon and the rest out.")
    if teacher_class.takes_source and not source:
        raise UsageError(f"the teacher {base!r} stands for many models; say which, as in --teacher {base}:FOLDER.")
    return teacher_class, source


def known_before_loading(teacher_class: type[Teacher]) -> bool:
    """Whether a teacher's facts are class attributes, so that what does not suit them can be refused at once."""
    return not any(isinstance(getattr(teacher_class, name), property) for name in ("images", "dataset", "protocol"))


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


def _evaluation(request: Request, teacher: Teacher, *, trains: bool) -> tuple[Protocol | None, EvaluationPlan | None]:
    """The protocol and the plan of a run."""
    if request.eval == []:
        return None, None
    protocol, metrics = choose_protocol(request.protocol, teacher, request.teacher, request.eval, request.eval_samples)
    extractor: type[FeatureExtractor] = registry.get("extractor", protocol.extractor)
    plan = EvaluationPlan(
        protocol=request.protocol or teacher.protocol or "",
        samples=protocol.samples,
        metrics=metrics,
        repeats=request.eval_repeats or protocol.repeats,
        points=(request.eval_points or POINTS) if trains else 1,
        extractor_digest=extractor().digest(),
        reference_digest=sha256(protocol.reference) if protocol.reference else teacher.dataset or "",
    )
    return protocol, plan


def choose_protocol(
    name: str | None,
    teacher: Teacher | type[Teacher],
    teacher_name: str,
    metrics: list[str] | None = None,
    samples: int | None = None,
) -> tuple[Protocol, list[str]]:
    """The protocol, the teacher's unless another is named, and the metrics, the protocol's unless others are.

    Raises UsageError for whatever could not be measured, before any work is done.
    """
    name = name or teacher.protocol
    if name is None:
        raise UsageError(f"the teacher {teacher_name!r} names no protocol; give one with --protocol, or a run --eval none.")
    if name not in registry.entries("protocol") and name == teacher.protocol:
        raise UsageError(
            f"the teacher {teacher_name!r} is measured by the protocol {name!r}, which this version does not have "
            "yet; give another --protocol of `bench list protocols`, or a run --eval none."
        )
    protocol: Protocol = registry.get("protocol", name)
    if samples:
        protocol = protocol.with_samples(samples)
    extractor: type[FeatureExtractor] = registry.get("extractor", protocol.extractor)
    extractor.require(teacher.images, teacher_name, protocol.id)
    chosen = list(dict.fromkeys(metrics or protocol.metrics))
    for metric_name in chosen:
        metric: type[Metric] = registry.get("metric", metric_name)
        if metric.feature not in extractor.features:
            raise UsageError(
                f"the metric {metric_name!r} needs the feature {metric.feature!r}, and the extractor of {protocol.id} gives only "
                f"{', '.join(extractor.features)}; choose another metric or another --protocol."
            )
        if protocol.samples < metric.fewest:
            raise UsageError(
                f"the metric {metric_name!r} needs at least {metric.fewest} images, not {protocol.samples}; raise --eval-samples."
            )
        if metric.needs_reference and protocol.reference is None and teacher.dataset is None:
            raise UsageError(
                f"the metric {metric_name!r} compares with real images, but {protocol.id} has no reference statistics and "
                f"{teacher_name!r} names no data set; choose another --protocol."
            )
    return protocol, chosen


def _own_files(classes: Iterable[type]) -> list[Path]:
    """The source files of these classes and of those they build on, outside the suite and the libraries."""
    outside = ("bench", "abc", "builtins", "torch", "diffusers", "typing")
    own = {c for each in classes for c in each.__mro__ if c.__module__.partition(".")[0] not in outside}
    return sorted({Path(inspect.getfile(c)) for c in own})


def _source_digest(files: Iterable[Path]) -> str:
    return hashlib.sha256("".join(sorted(sha256(f) for f in files)).encode()).hexdigest()  # wherever the files lie


def _teacher_files(teacher: Teacher) -> list[Path]:
    return _own_files({type(teacher), *(type(module) for module in teacher.denoiser.modules())})


def _teacher_code(teacher: Teacher) -> str:
    augment = teacher.augment if dataclasses.is_dataclass(teacher.augment) else None  # a function's repr is an address
    facts = repr((teacher.images, teacher.noise, teacher.sampler, augment))
    return hashlib.sha256((_source_digest(_teacher_files(teacher)) + facts).encode()).hexdigest()


def _inputs(sources: list[Path], card: Path, recipe: Recipe, protocol: Protocol | None, teacher: Teacher) -> dict[str, str]:
    files = [card, *sources, *map(Path, recipe.plugins)]
    shipped = [getattr(teacher, "shipped", None)]
    if protocol and recipe.evaluation:
        extractor = registry.get("extractor", protocol.extractor)
        files += _own_files([extractor, *(registry.get("metric", m) for m in recipe.evaluation.metrics)])
        shipped += [protocol.reference, getattr(extractor, "shipped", None)]
    files += [Path(recipe.teacher_path)] if recipe.teacher_path else []
    files += teacher.files
    files += [f for f in shipped if f]
    return {str(f): sha256(f) for f in sorted(set(files)) if f.is_file()}
