"""What code a run depends on, and a digest of it that its recipe holds."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.evaluation.plan import EvaluationPlan
from bench.factory import Setup
from bench.files.atomic import content_digest, sha256
from bench.plugin.protocol import PublishedStatistics
from bench.plugin.teacher import Teacher
from bench.runs.recipe import Recipe
from bench.settings import card_file

OUTSIDE = ("bench", "abc", "builtins", "torch", "diffusers", "typing")
"""Packages whose code is not a method's, a teacher's or a metric's own."""


def own_files(classes: Iterable[type]) -> list[Path]:
    """List the source files of these classes and of those they build on, outside the suite and the libraries."""
    own = {c for each in classes for c in each.__mro__ if c.__module__.partition(".")[0] not in OUTSIDE}
    return sorted({Path(inspect.getfile(c)) for c in own})


def classes_of(plan: EvaluationPlan) -> list[type]:
    """List the extractors and metrics of an evaluation."""
    return [*plan.extractors.values(), *(type(metric) for metric in plan.metrics.values())]


def files_behind(classes: Iterable[type]) -> list[Path]:
    """List the source files of these classes, and of what their modules use of their own package."""
    waiting, seen = [sys.modules[c.__module__] for each in classes for c in each.__mro__ if c.__module__ in sys.modules], {}
    while waiting:
        module = waiting.pop()
        package = module.__name__.partition(".")[0]
        if module.__name__ in seen or package in OUTSIDE or not getattr(module, "__file__", None):
            continue
        seen[module.__name__] = Path(module.__file__ or "")
        names = {getattr(v, "__name__" if inspect.ismodule(v) else "__module__", "") for v in vars(module).values()}
        waiting += [sys.modules[n] for n in names if isinstance(n, str) and n.partition(".")[0] == package and n in sys.modules]
    return sorted(seen.values())


def source_digest(files: Iterable[Path]) -> str:
    """Digest the contents of source files, wherever they lie."""
    return hashlib.sha256("".join(sorted(sha256(f) for f in files)).encode()).hexdigest()


def teacher_files(teacher: Teacher) -> list[Path]:
    """List the source files of a teacher and of its network's parts."""
    return own_files({type(teacher), *(type(module) for module in teacher.denoiser.modules())})


def teacher_code(teacher: Teacher) -> str:
    """Digest a teacher's source, noise levels, sampler and augmentation."""
    augment = teacher.augment if dataclasses.is_dataclass(teacher.augment) else None  # a function's repr is an address
    facts = repr((teacher.image_spec, teacher.noise, teacher.sampler, augment))
    return hashlib.sha256((source_digest(teacher_files(teacher)) + facts).encode()).hexdigest()


def inputs_of(setup: Setup, recipe: Recipe, plan: EvaluationPlan | None, required: Iterable[Path]) -> dict[str, str]:
    """Digest every file that a request's meaning depends on, by its path: code, cards, plugins, weights, statistics, images."""
    files = [card_file(setup.method_class), *files_behind([setup.method_class]), *teacher_files(setup.teacher), *required]
    files += map(Path, recipe.plugins)
    files += [Path(recipe.teacher_path)] if recipe.teacher_path else []
    files += setup.teacher.files
    shipped = [getattr(setup.teacher, "shipped", None)]
    if plan:
        files += files_behind(classes_of(plan))
        files += [asset.path for asset in plan.assets]
        files += [Path(place) for place in plan.sources if not isinstance(place, PublishedStatistics)]
        files += [plan.extractor_path] if plan.extractor_path else []
        shipped += [getattr(extractor, "shipped", None) for extractor in plan.extractors.values()]
    files += [f for f in shipped if f]
    return {str(f): content_digest(f) for f in sorted(set(files)) if f.exists()}
