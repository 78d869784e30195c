"""From names to objects: a method with its settings, a teacher, and anything that generates images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import environment, registry
from bench.errors import UsageError, shown
from bench.files.assets import fetch
from bench.files.atomic import sha256
from bench.files.graphs import OnnxGraph, runs_on_gpus
from bench.files.tensors import load_tensors, load_weights, tensors_digest
from bench.plugin.images import ImageSpec
from bench.plugin.method import Generate, Method, Settings
from bench.plugin.sampler import Draw, few_steps
from bench.plugin.teacher import Teacher
from bench.runs.budget import Budget
from bench.runs.exported import KEY, GeneratorFacts, exported_weights
from bench.runs.recipe import Request, checked, make_request
from bench.settings import Hyperparameters, choose_settings
from bench.trained import find_trained

HALF_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "bf16-forced": torch.bfloat16}


@dataclass(frozen=True)
class Components:
    """The things that the names in a request stand for, before anything is read: classes,
    hyper-parameters and the budget.
    """

    method_class: type[Method]
    teacher_class: type[Teacher]
    source: str
    """The part after the colon of the teacher's name; empty for a teacher that is one model."""
    hyperparameters: Hyperparameters
    """Where the settings come from, and what went into them."""
    budget: Budget | None
    """None for a method that does not train."""


@dataclass(frozen=True)
class Setup(Components):
    """The components with the teacher loaded: what training and sampling both begin with."""

    settings: Settings
    """With the precision settled."""
    teacher: Teacher
    device: torch.device

    def make_method(self) -> Method:
        """Build the method's networks from the teacher."""
        return self.method_class(self.settings, self.teacher)


@dataclass(frozen=True)
class ImageGenerator:
    """A generator on its device, ready to be called, and the teacher whose kind of image it makes."""

    generate: Generate
    nfe: int
    network: nn.Module
    teacher: Teacher
    device: torch.device
    trained: bool = False
    """True if a run trained it, whose choices replicate 0 of an evaluation may have made."""
    run: Path | None = None
    """Folder of that run, if it is there."""

    @property
    def parameters(self) -> int:
        """Number of the network's parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def digest(self) -> str:
        """Return the SHA-256 of the network: of the names, shapes and bytes of all its tensors."""
        return tensors_digest(self.network.state_dict())


@dataclass(frozen=True, kw_only=True)
class GraphGenerator(ImageGenerator):
    """A generator that was exported as an ONNX graph, whose tensors torch does not see."""

    file: Path
    facts: GeneratorFacts

    @property
    def parameters(self) -> int:
        return self.facts.parameters

    def digest(self) -> str:
        return sha256(self.file)


class KindOfImage(Teacher):
    """The facts of a teacher without its network, in whose place a graph makes the images."""

    def __init__(self, facts: GeneratorFacts) -> None:
        super().__init__()
        self.name, self.dataset, self.protocol = facts.teacher, facts.dataset, facts.protocol
        spec = ImageSpec(facts.channels, facts.resolution, facts.label_dim)
        self.image_spec = spec.of_classes(facts.classes, self.name) if facts.label_dim else spec

    def load(self, path: Path | None) -> nn.Module:
        return nn.Identity()


def look_up(request: Request) -> Components:
    """Look up every name of a request and choose its settings and budget.

    Raises UsageError for a name that does not exist and for a value out of range. Plugins are
    loaded, weights are not.
    """
    for plugin in request.plugins:
        registry.load_plugin(plugin)
    method_class = registry.methods.get(request.method)
    teacher_class, source = find_teacher_class(request.teacher)
    hyperparameters = choose_settings(method_class, request.teacher, request.settings, request.budget)
    budget = _choose_budget(request, method_class, hyperparameters.budget)
    return Components(method_class, teacher_class, source, hyperparameters, budget)


def set_up(request: Request, components: Components) -> Setup:
    """Load the teacher and settle device and precision.

    Raises UsageError for a device that is not there, for a precision that does not suit device or
    method, and for weights that are not those that the request names by digest.
    """
    chosen = components.hyperparameters.settings
    device = environment.choose_device(request.device)
    precision = environment.choose_precision(chosen.precision, device)
    if precision == "bf16" and components.method_class.score_difference:
        raise UsageError(
            f"the gradient of {request.method!r} is a small difference of two networks, which bf16 "
            "rounds away; use --precision fp16 or tf32, or bf16-forced if that is what you study."
        )
    path = Path(request.teacher_path) if request.teacher_path else None
    teacher = components.teacher_class(path, components.source)
    if request.classes is not None:
        teacher.draw_classes(request.classes)
    if precision in HALF_TYPES:
        teacher.use_half(HALF_TYPES[precision])
    if request.teacher_digest not in (None, digest := teacher.digest()) and not teacher.untrained:
        raise UsageError(
            f"the weights of {request.teacher!r} are {digest[:12]}, the recipe was made with "
            f"{str(request.teacher_digest)[:12]}; give those with --teacher-path, or leave the "
            "recipe file out."
        )
    settings = chosen.model_copy(update={"precision": precision})
    return Setup(**vars(components), settings=settings, teacher=teacher, device=device)


def find_teacher_class(name: str) -> tuple[type[Teacher], str]:
    """Find the class behind ``NAME`` or ``NAME:SOURCE``, and the source.

    Raises UsageError for a source too many or missing.
    """
    base, _, source = name.partition(":")
    teacher_class = registry.teachers.get(base)
    if source and not teacher_class.takes_source:
        raise UsageError(
            f"the teacher {base!r} stands for one model, given {name!r}; leave the colon and the rest out."
        )
    if teacher_class.takes_source and not source:
        raise UsageError(
            f"the teacher {base!r} stands for many models; say which, as in --teacher {base}:FOLDER."
        )
    return teacher_class, source


def _choose_budget(request: Request, method_class: type[Method], budget: str | None) -> Budget | None:
    if not method_class.trains:
        if request.budget:
            raise UsageError(
                f"method {request.method!r} does not train and takes no budget, given "
                f"{request.budget!r}; leave it out."
            )
        return None
    if budget is None:
        raise UsageError(
            f"method {request.method!r} has no default budget for {request.teacher!r}; give one, "
            "such as --budget images=200k."
        )
    return Budget.parse(budget)


def open_generator(
    name: str,
    results: Path,
    *,
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    path: str | None = None,
    classes: int | None = None,
) -> ImageGenerator:
    """Open what ``name`` means: ``teacher:NAME``, ``released:NAME``, a weights file, a run by its folder
    or id, or what was exported, by its folder or file.

    Args:
        name: what to open.
        results: the folder in which runs are looked for.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: those of the method ``teacher`` (steps, solver, churn), for a teacher alone.
        path: a file in place of the usual weights; for a run, of its teacher's.
        classes: number of classes that are drawn, for a teacher or a released generator.

    Raises UsageError for a name that means nothing and for weights that do not fit.
    """
    kind, _, rest = name.partition(":")
    if settings and kind != "teacher":
        raise UsageError(
            f"the sampler can be chosen for teacher:NAME, given {name!r}; a generator has its own "
            "number of steps."
        )
    if name in registry.teachers.entries():
        raise UsageError(f"{name!r} is a teacher; say teacher:{name}.")
    if classes is not None and kind not in ("teacher", "released"):
        raise UsageError(
            f"the classes can be chosen for teacher:NAME and released:NAME, given {name!r}; a run draws "
            "those that it was trained on."
        )
    if kind == "teacher":
        return _from_request(
            make_request(
                method="teacher",
                teacher=rest,
                settings=settings or {},
                teacher_path=path,
                classes=classes,
                device=device,
            )
        )
    if kind == "released":
        return _open_released(rest, path, device, classes)
    file = exported_weights(Path(name)) or Path(name)
    if file.suffix == ".onnx" and file.is_file():
        return _open_graph(file, path, device)
    return _open_trained(name, path, results, device)


def _from_request(request: Request, weights: Path | None = None) -> ImageGenerator:
    """Open a method's generator: as it starts, or with the weights of a file."""
    setup = set_up(request, look_up(request))
    environment.set_precision(setup.settings.precision)
    environment.choose_threads(setup.teacher.denoiser)
    method = setup.make_method()
    if weights is not None:
        tensors, meta = load_tensors(weights)
        last = meta.get("stage", 0)
        if type(last) is not int or not 0 <= last <= len(method.stages):
            raise UsageError(
                f"the weights file {str(weights)!r} says that it is of stage {shown(last)}, and "
                f"{request.method} has {len(method.stages)} after the first; give another."
            )
        for stage in range(1, last + 1):
            method.begin_stage(stage, method.generator)
        load_weights(method.generator, tensors, f"the weights file {str(weights)!r}")
    method.generator.eval().to(setup.device)
    return ImageGenerator(
        method.sample, method.nfe, method.generator, setup.teacher.to(setup.device), setup.device
    )


def _open_released(name: str, path: str | None, device_name: str, classes: int | None) -> ImageGenerator:
    """Open a released generator: its teacher's network with other weights, called at its own noise levels."""
    released = registry.released.get(name)
    device = environment.choose_device(device_name)
    environment.set_precision(environment.choose_precision("auto", device))
    teacher_class, _ = find_teacher_class(released.teacher)
    student = teacher_class(Path(path) if path else fetch(released.weights)).to(device)
    if classes is not None:
        student.draw_classes(classes)
    environment.choose_threads(student.denoiser)

    def generate(z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return few_steps(student.denoiser, z, released.sigmas, labels, draw)

    return ImageGenerator(generate, len(released.sigmas), student.denoiser, student, device)


def _open_trained(name: str, teacher_path: str | None, results: Path, device: str) -> ImageGenerator:
    """Open what a run has trained; its teacher may have moved."""
    trained = find_trained(name, results)
    registry.require_plugins(trained.recipe.plugins, f"{name!r}")
    request = trained.recipe.sampling_request(device, teacher_path)
    # A run may have been trained on a GPU in an arithmetic that a CPU does not have.
    if environment.choose_device(device).type == "cpu":
        request = request.model_copy(update={"settings": request.settings | {"precision": "auto"}})
    return replace(_from_request(request, trained.weights), trained=True, run=trained.run)


def _open_graph(file: Path, path: str | None, device_name: str) -> ImageGenerator:
    """Open a generator that was exported as an ONNX graph, which needs neither method nor teacher.

    Without a GPU that onnxruntime uses, ``auto`` is the CPU.
    """
    if path is not None:
        raise UsageError(f"the graph {str(file)!r} holds all its weights, given --path; leave it out.")
    device = environment.choose_device(device_name)
    if device_name == "auto" and not runs_on_gpus():
        device = torch.device("cpu")
    graph = OnnxGraph(file, device)
    try:
        content = graph.meta(KEY)["generator"]
    except (ValueError, LookupError, TypeError):
        raise UsageError(
            f"the graph {str(file)!r} does not say what it makes; give one that `bench export` wrote."
        ) from None
    facts = checked(GeneratorFacts, content, f"the description in the graph {str(file)!r}")

    def generate(z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return graph(z, labels)

    return GraphGenerator(
        generate, facts.nfe, graph, KindOfImage(facts), device, trained=True, file=file, facts=facts
    )
