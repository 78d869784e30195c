"""What code a run depends on, and a digest of it that its recipe holds."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.evaluation.plan import Measuring
from bench.files.atomic import sha256
from bench.plugin.teacher import Teacher

OUTSIDE = ("bench", "abc", "builtins", "torch", "diffusers", "typing")
"""Packages whose code is not a method's, a teacher's or a metric's own."""


def own_files(classes: Iterable[type]) -> list[Path]:
    """The source files of these classes and of those they build on, outside the suite and the libraries."""
    own = {c for each in classes for c in each.__mro__ if c.__module__.partition(".")[0] not in OUTSIDE}
    return sorted({Path(inspect.getfile(c)) for c in own})


def classes_of(measuring: Measuring) -> list[type]:
    return [*measuring.extractors.values(), *(type(metric) for metric in measuring.metrics.values())]


def files_behind(classes: Iterable[type]) -> list[Path]:
    """The source files of these classes, and of what their modules use of their own package."""
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
    return hashlib.sha256("".join(sorted(sha256(f) for f in files)).encode()).hexdigest()  # wherever the files lie


def teacher_files(teacher: Teacher) -> list[Path]:
    return own_files({type(teacher), *(type(module) for module in teacher.denoiser.modules())})


def teacher_code(teacher: Teacher) -> str:
    """SHA-256 of a teacher's source, and of its noise levels, sampler and augmentation."""
    augment = teacher.augment if dataclasses.is_dataclass(teacher.augment) else None  # a function's repr is an address
    facts = repr((teacher.images, teacher.noise, teacher.sampler, augment))
    return hashlib.sha256((source_digest(teacher_files(teacher)) + facts).encode()).hexdigest()
