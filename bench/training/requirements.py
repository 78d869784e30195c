"""The requirements of a method beside the teacher, found or refused before any work is done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench import registry
from bench.errors import UsageError
from bench.evaluation.digests import digest_of
from bench.files.assets import UNKNOWN, Withheld, at_hand
from bench.files.atomic import sha256
from bench.files.tensors import load_tensors
from bench.plugin.dataset import Dataset, InMemory, find_dataset
from bench.plugin.method import Method
from bench.plugin.requirement import (
    PublishedFile,
    RealImages,
    Requirement,
    StartingGenerator,
    TeacherPairs,
)
from bench.plugin.teacher import Teacher
from bench.runs.exported import exported_weights
from bench.runs.store import find_run, results_folder


@dataclass(frozen=True)
class InitialGenerator:
    """A file of generator weights to start from, and what making them cost: nothing where that is
    not known.
    """

    file: Path
    digest: str
    flops: int = 0
    seconds: float = 0.0
    reader: type[Teacher] | None = None
    """The teacher that reads the file of a released generator; None for a run's own format."""

    def weights(self) -> dict[str, Tensor]:
        """Read the generator's tensors by name."""
        return (
            self.reader(self.file).denoiser.state_dict() if self.reader else load_tensors(self.file)[0]
        )


@dataclass
class Requirements:
    """The requirements of a method, found. The teacher's pairs are made later, by the run, as they are
    its first work.
    """

    real: Dataset | None = None
    initial_generator: InitialGenerator | None = None
    pairs: TeacherPairs | None = None
    digests: dict[str, str] = field(default_factory=dict)
    """Identity of each content by its kind, for the recipe: a digest, or a data set's name."""
    files: list[Path] = field(default_factory=list)
    """Files that were read."""


def find_requirements(
    method_class: type[Method], required: Sequence[Requirement], teacher: Teacher, data: str | None
) -> Requirements:
    """Find what a method requires. ``data`` is a data set's name or path in place of the teacher's own.

    Raises UsageError that says what to fetch or which flag to give.
    """
    method, channels = method_class.name, teacher.image_spec.channels
    requirements = Requirements()
    if data and not any(isinstance(requirement, RealImages) for requirement in required):
        raise UsageError(
            f"method {method!r} needs no real images under these settings, given --data {data!r}; "
            "leave it out."
        )
    for requirement in required:
        match requirement:
            case TeacherPairs():
                requirements.pairs = requirement
            case PublishedFile(asset, only) if only not in (None, channels):
                raise UsageError(
                    f"{asset.file} is for images of {only} channels, {teacher.name!r} makes images "
                    f"of {channels}; choose a setting of {method!r} that does without, such as "
                    "--set distance=l2."
                )
            case PublishedFile(asset):
                requirements.files += [file] if (file := at_hand(asset)) else []
                requirements.digests[asset.id] = asset.digest() or UNKNOWN
            case StartingGenerator(source):
                requirements.initial_generator = find_initial_generator(source, teacher)
                requirements.files.append(requirements.initial_generator.file)
                requirements.digests["start"] = requirements.initial_generator.digest
            case RealImages():
                requirements.real = _find_real_images(method, teacher, data)
                place = Path(data) if data and Path(data).exists() else None
                requirements.files += [place] if place else []
                requirements.digests["real"] = (
                    digest_of(place, labels=True) if place else str(data or teacher.dataset)
                )
    return requirements


def _find_real_images(method: str, teacher: Teacher, data: str | None) -> Dataset:
    """Open the data set given, or the teacher's own. Raises UsageError for images or classes that are
    not the teacher's.
    """
    name = data or teacher.dataset
    if name is None:
        raise UsageError(
            f"method {method!r} learns from real images, and {teacher.name!r} does not say which "
            "it was trained on; give --data NAME or --data PATH (an EDM zip, a folder of images, "
            "the CIFAR-10 archive, or idx files)."
        )
    try:
        dataset = find_dataset(name)()
    except Withheld:  # the estimate of a dry run makes images of its own
        return InMemory(torch.empty(0, *teacher.image_spec.shape, dtype=torch.uint8))
    except UsageError as error:
        raise UsageError(
            f"method {method!r} learns from real images: {error} Or give --data PATH."
        ) from None
    theirs, ours = dataset.image_spec, teacher.image_spec
    if theirs.shape != ours.shape:
        raise UsageError(
            f"the data set {name!r} has images of {theirs}, {teacher.name!r} makes {ours}; "
            "give other --data."
        )
    if ours.label_dim and theirs.label_dim != ours.classes:
        fewer = 0 < theirs.label_dim < ours.label_dim
        raise UsageError(
            f"the data set {name!r} has {theirs.label_dim or 'no'} classes, {teacher.name!r} is "
            f"conditioned on {ours.classes}; give --data with its labels"
            + (
                f", or --classes {theirs.label_dim} if the others are never drawn, such as a null class "
                "for guidance."
                if fewer
                else "."
            )
        )
    return dataset


def find_initial_generator(source: str, teacher: Teacher) -> InitialGenerator:
    """Find the generator that ``source`` means: a run's folder, its weights file, or
    ``released:NAME``, which is fetched.

    Raises UsageError for anything else, and for a generator that was made from another teacher than
    ``teacher``.
    """
    name = teacher.name
    kind, _, known = source.partition(":")
    if kind == "released":
        released = registry.released.get(known)
        if released.teacher != name:
            raise UsageError(
                f"the starting generator {source!r} was made from {released.teacher!r}, not "
                f"{name!r}; give another."
            )
        file = at_hand(released.weights)
        digest = sha256(file) if file else released.weights.digest() or UNKNOWN
        reader = registry.teachers.get(released.teacher)
        return InitialGenerator(released.weights.path, digest, reader=reader)
    exported, path = exported_weights(Path(source)), Path(source)
    is_run = exported is None and (path.is_dir() or (results_folder() / source).is_dir())
    file = (
        find_run(source, path.parent if path.is_dir() else results_folder())[0].weights
        if is_run
        else exported or path
    )
    if is_run and not file.is_file():
        raise UsageError(
            f"the run {source!r} has no generator yet; finish it first, or start from another."
        )
    if not file.is_file():
        names = [
            f"released:{n}"
            for n in registry.released.entries()
            if registry.released.get(n).teacher == name
        ]
        raise UsageError(
            f"unknown starting generator {source!r}; give a run's id or folder, its "
            "generator.safetensors, or one of "
            f"{', '.join(names) or 'none released for this teacher'}."
        )
    meta = load_tensors(file)[1] if file.suffix == ".safetensors" else {}
    if "recipe" not in meta:
        raise UsageError(
            f"the starting generator {source!r} is not a run's; give its folder or its generator.safetensors."
        )
    if meta["recipe"].get("teacher_digest") != teacher.digest() and not teacher.untrained:
        raise UsageError(
            f"the starting generator {source!r} was made from another teacher than {name!r}; give another."
        )
    cost = meta.get("cost", {})
    return InitialGenerator(
        file, sha256(file), int(cost.get("flops", 0)), float(cost.get("seconds", 0.0))
    )
