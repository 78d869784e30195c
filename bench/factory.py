"""Anything that generates, opened by its name: a run, a file of generator weights, a teacher, a released generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import environment, registry
from bench.errors import UsageError
from bench.files.assets import fetch
from bench.files.tensors import load_tensors, load_weights
from bench.plugin.method import Generate
from bench.plugin.sampler import few_steps
from bench.plugin.teacher import Released, Teacher
from bench.runs.recipe import make_request, read_recorded
from bench.runs.store import find_run
from bench.training.job import resolve


@dataclass(frozen=True)
class Source:
    """A generator on its device, ready to be called, and the teacher whose kind of image it makes."""

    generate: Generate
    nfe: int
    network: nn.Module
    teacher_name: str
    teacher: Teacher
    device: torch.device
    trained: bool = False
    """Whether a run trained it, whose choices replicate 0 may have made."""
    run: Path | None = None
    """Folder of that run, if it is there."""

    @property
    def note(self) -> str:
        """What a person should know about the weights."""
        return self.teacher.note


def open_source(
    name: str, results: Path, *, device: str = "auto", settings: Mapping[str, Any] | None = None, path: str | None = None
) -> Source:
    """The generator that ``name`` means: ``teacher:NAME``, ``released:NAME``, a weights file, or a run by its folder or id.

    ``settings`` are those of the method ``teacher``: steps, solver, churn. ``path`` is a file in place of the usual weights; for
    a run, of its teacher's.
    """
    kind, _, rest = name.partition(":")
    if settings and kind != "teacher":
        raise UsageError(f"the sampler can be chosen for teacher:NAME, given {name!r}; a generator has its own number of steps.")
    if name in registry.entries("teacher"):
        raise UsageError(f"{name!r} is a teacher; say teacher:{name}.")
    if kind == "teacher":
        return _of_a_recipe({"method": "teacher", "teacher": rest, "settings": settings or {}, "teacher_path": path}, device)
    if kind == "released":
        return _released(rest, path, device)
    return _trained(name, path, results, device)


def _of_a_recipe(request: Mapping[str, Any], device: str, weights: Path | None = None) -> Source:
    """A method's generator: as it starts, or with the weights of a file."""
    job = resolve(make_request(**request, eval=[], device=device), to_train=False)
    environment.set_precision(job.settings.precision)
    environment.choose_threads(job.teacher.denoiser)
    method = job.method_class(job.settings, job.teacher)
    if weights is not None:
        tensors, meta = load_tensors(weights)
        for stage in range(1, meta.get("stage", 0) + 1):
            method.begin_stage(stage, method.generator)
        load_weights(method.generator, tensors, f"the weights file {str(weights)!r}")
    method.generator.eval().to(job.device)
    return Source(method.generate, method.nfe, method.generator, job.recipe.teacher, job.teacher.to(job.device), job.device)


def _released(name: str, path: str | None, device: str) -> Source:
    """A released generator: its teacher's network with other weights, called at its noise levels."""
    released: Released = registry.get("released", name)
    where = environment.choose_device(device)
    environment.set_precision(environment.choose_precision("auto", where))
    teacher_class, _ = teacher_named(released.teacher)
    student = teacher_class(Path(path) if path else fetch(released.weights)).to(where)
    environment.choose_threads(student.denoiser)

    def generate(z: Tensor, labels: Tensor | None = None, draw: Any = None) -> Tensor:
        return few_steps(student.denoiser, z, released.sigmas, labels, draw)

    return Source(generate, len(released.sigmas), student.denoiser, released.teacher, student, where)


def _trained(name: str, teacher_path: str | None, results: Path, device: str) -> Source:
    """A run by its id or folder, or a generator's safetensors file, which carries its recipe; its teacher may have moved."""
    file, folder = Path(name), None
    if file.is_file():
        meta = load_tensors(file)[1] if file.suffix == ".safetensors" else {}
        if "recipe" not in meta:
            raise UsageError(
                f"the weights file {name!r} does not say which run made it; give a run's checkpoints/generator.safetensors, "
                "or name what it is, as in `teacher:edm-cifar10 --path FILE`."
            )
        recipe = read_recorded(meta["recipe"], f"the weights file {name!r}")
    else:
        folder, record = find_run(name, results)
        recipe, file = read_recorded(record.recipe, f"the run {record.run_id}"), folder.weights
        if recipe.budget is not None and not file.exists():
            raise UsageError(f"the run {record.run_id} has no generator yet, its status is {record.status!r}; finish it first.")
    registry.require_plugins(recipe.plugins, f"{name!r}")
    where = environment.choose_device(device)
    training = ("eval", "protocol", "reference", "extractor_path", "fast", "data", "supplies")
    request = {k: v for k, v in recipe.as_request().items() if not k.startswith(training)} | {"plugins": []}
    if teacher_path:
        request["teacher_path"] = teacher_path
    if where.type == "cpu":  # trained on a GPU, perhaps, in an arithmetic that is not there
        request["settings"] = request["settings"] | {"precision": "auto"}
    source = _of_a_recipe(request, device, file if recipe.budget is not None else None)
    run = folder.path if folder else file.absolute().parents[1]
    return dataclasses.replace(source, trained=True, run=run if (run / "record.json").exists() else None)


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
