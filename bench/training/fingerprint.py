"""The code and the files that a run depends on, and digests of them: an edited method, teacher or metric
makes another run.

Code is digested without comments, docstrings and layout (``bench.files.code``), so that a better
explanation orphans no result.
"""

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bench import registry
from bench.evaluation.plan import EvaluationPlan
from bench.factory import Setup
from bench.files.code import input_digest
from bench.plugin.protocol import PublishedStatistics
from bench.plugin.teacher import Teacher
from bench.runs.recipe import Recipe, Request
from bench.runs.store import input_name
from bench.settings import card_files

OUTSIDE = frozenset({"bench", "torch", "diffusers"}) | sys.stdlib_module_names
"""Packages, with the standard library, whose code is not a method's, a teacher's or a metric's own."""


def classes_of(plan: EvaluationPlan) -> list[type]:
    """List the extractors and metrics of an evaluation."""
    return [*plan.extractors.values(), *(type(metric) for metric in plan.metrics.values())]


def files_behind(classes: Iterable[type]) -> list[Path]:
    """List the source files of these classes and of those they build on, and what these use of
    their own package.
    """
    return _files_behind(
        [module for cls in classes for c in cls.__mro__ if (module := sys.modules.get(c.__module__))]
    )


def _files_behind(waiting: list[ModuleType]) -> list[Path]:
    """The source files of these modules and of what they use of their own.

    What a plugin file uses of the modules that lie beside it, or in folders there, belongs to it
    as well.
    """
    seen: dict[str, Path] = {}
    while waiting:
        module = waiting.pop()
        if module.__name__ in seen or _top(module) in OUTSIDE or not getattr(module, "__file__", None):
            continue
        seen[module.__name__] = Path(module.__file__ or "")
        waiting += [other for other in _used_by(module) if _is_of(other, module)]
    return sorted(seen.values())


def _used_by(module: ModuleType) -> list[ModuleType]:
    """The modules that a module imports, or of which it imports something."""
    names = {
        getattr(v, "__name__" if inspect.ismodule(v) else "__module__", "")
        for v in vars(module).values()
    }
    return [sys.modules[name] for name in names if isinstance(name, str) and name in sys.modules]


def _is_of(other: ModuleType, module: ModuleType) -> bool:
    """Tell whether one module belongs to the code of another: to its package or, of a file by itself, to
    its folder.
    """
    if _top(other) == _top(module):
        return True
    place, home = getattr(other, "__file__", None), Path(module.__file__ or "").parent
    return (
        bool(place)
        and "site-packages" not in (path := Path(place or "")).parts
        and path.is_relative_to(home)
    )


def _top(module: ModuleType) -> str:
    return module.__name__.partition(".")[0]


def code_of(files: Iterable[Path]) -> str:
    """Digest the code of source files, wherever they lie and in whatever order."""
    return hashlib.sha256("".join(sorted(input_digest(f) for f in files)).encode()).hexdigest()


def teacher_files(teacher: Teacher) -> list[Path]:
    """List the source files of a teacher and of its network's parts."""
    return files_behind({type(teacher), *(type(part) for part in teacher.denoiser.modules())})


def teacher_code(teacher: Teacher) -> str:
    """Digest a teacher's code, noise levels, sampler and augmentation."""
    # A function is left out: its repr is an address.
    augment = teacher.augment if dataclasses.is_dataclass(teacher.augment) else None
    facts = repr((teacher.image_spec, teacher.noise, teacher.sampler, augment))
    return hashlib.sha256((code_of(teacher_files(teacher)) + facts).encode()).hexdigest()


@contextmanager
def plugins_got() -> Iterator[set[Path]]:
    """Yield a set that collects the plugin files of all that is got by name while the context lasts."""
    registry.noted.append(got := set[Path]())
    try:
        yield got
    finally:
        registry.noted.pop()


def plugins_used(
    setup: Setup, request: Request, plan: EvaluationPlan | None, got: set[Path]
) -> list[str]:
    """List the plugin files of a request that its run uses: those that register something that was ``got``
    in the making of its job or whose images it is compared with, and those that its method, teacher,
    extractors or metrics are written in or build on.

    Other files that were given change nothing: the run is the one that it is without them.
    """
    known, sources = registry.datasets.entries(), map(str, plan.sources if plan else ())
    used = got.union(
        (file for name in sources if name in known and (file := known[name].plugin)),
        files_behind([setup.method_class, *(classes_of(plan) if plan else ())]),
        teacher_files(setup.teacher),
    )
    return [plugin for plugin in request.plugins if Path(plugin) in used]


def plugin_code(plugins: Sequence[str]) -> str:
    """Digest the code of plugin files that have been loaded, and of their own helper modules; empty
    if none is used.
    """
    return (
        code_of(_files_behind([registry.plugin_module(plugin) for plugin in plugins])) if plugins else ""
    )


def inputs_of(
    setup: Setup, recipe: Recipe, plan: EvaluationPlan | None, required: Iterable[Path]
) -> dict[str, str]:
    """Digest every file that a request's meaning depends on, by its name.

    They are code, cards, plugins, weights, statistics and images. A finished run answers its
    request for as long as all of them are as they were. A plugin's card that is not there has the empty
    text as its digest: once it is written, its values count.
    """
    cards = card_files(setup.method_class, recipe.teacher)
    files = [
        *cards,
        *files_behind([setup.method_class]),
        *teacher_files(setup.teacher),
        *setup.teacher.files,
        *_files_behind([registry.plugin_module(plugin) for plugin in recipe.plugins]),
        *required,
    ]
    files += [Path(recipe.teacher_path)] if recipe.teacher_path else []
    shipped = [getattr(setup.teacher, "shipped", None)]
    if plan:
        files += [
            *files_behind(classes_of(plan)),
            *(asset.path for asset in plan.assets),
            *(Path(place) for place in plan.sources if not isinstance(place, PublishedStatistics)),
        ]
        files += [plan.extractor_path] if plan.extractor_path else []
        shipped += [getattr(extractor, "shipped", None) for extractor in plan.extractors.values()]
    files += [f for f in shipped if f]
    absent = [f for f in cards if not f.exists() and input_name(f) == str(f)]
    return dict.fromkeys(map(str, absent), "") | {
        input_name(f): input_digest(f) for f in sorted(set(files)) if f.exists()
    }
