"""What a method requires beside the teacher: looked for, and complained about, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from bench import registry
from bench.errors import UsageError
from bench.files.assets import fetch
from bench.files.atomic import content_digest, sha256
from bench.files.tensors import load_tensors
from bench.plugin.dataset import Dataset, find_dataset
from bench.plugin.method import Method, PublishedFile, RealImages, Requirement, StartingGenerator, TeacherPairs
from bench.plugin.teacher import Teacher
from bench.runs.store import find_run, results_folder


@dataclass
class Requirements:
    """What was found. The teacher's pairs are made later, by the run, as they are its first work."""

    real: Dataset | None = None
    initial_generator: InitialGenerator | None = None
    pairs: TeacherPairs | None = None
    digests: dict[str, str] = field(default_factory=dict)
    """By kind: what identifies the content, for the recipe."""
    files: list[Path] = field(default_factory=list)
    """What was read."""


def find_requirements(
    method_class: type[Method], requirements: Sequence[Requirement], teacher: Teacher, data: str | None
) -> Requirements:
    """Find what a method requires. ``data`` is a data set's name or path in place of the teacher's own.

    Raises UsageError that says what to fetch or which flag to give.
    """
    method, name = method_class.name, teacher.name
    found = Requirements()
    if data and not any(isinstance(wanted, RealImages) for wanted in requirements):
        raise UsageError(f"method {method!r} needs no real images under these settings, given --data {data!r}; leave it out.")
    for wanted in requirements:
        match wanted:
            case TeacherPairs():
                found.pairs = wanted
            case PublishedFile(asset, channels) if channels not in (None, teacher.image_spec.channels):
                raise UsageError(
                    f"{asset.file} is for images of {channels} channels, {name!r} makes images of {teacher.image_spec.channels}; "
                    f"choose a setting of {method!r} that does without, such as --set distance=l2."
                )
            case PublishedFile(asset):
                found.files.append(fetch(asset))
                found.digests[asset.id] = str(asset.digest())
            case StartingGenerator(source):
                found.initial_generator = find_initial_generator(source, teacher)
                found.files.append(found.initial_generator.file)
                found.digests["start"] = found.initial_generator.digest
            case RealImages():
                found.real = _real_images(method, teacher, data)
                path = Path(data or "")
                found.files += [path] if data and path.exists() else []
                found.digests["real"] = content_digest(path) if data and path.exists() else str(data or teacher.dataset)
    return found


def _real_images(method: str, teacher: Teacher, data: str | None) -> Dataset:
    name = teacher.name
    wanted = data or teacher.dataset
    if wanted is None:
        raise UsageError(
            f"method {method!r} learns from real images, and {name!r} does not say which it was trained on; give --data NAME or "
            "--data PATH (an EDM zip, a folder of images, the CIFAR-10 archive, or idx files)."
        )
    try:
        dataset = find_dataset(wanted)()
    except UsageError as error:
        raise UsageError(f"method {method!r} learns from real images: {error} Or give --data PATH.") from None
    images, own = dataset.image_spec, teacher.image_spec
    if (images.channels, images.resolution) != (own.channels, own.resolution):
        raise UsageError(
            f"the data set {wanted!r} has images of {images.channels}x{images.resolution}x{images.resolution}, {name!r} makes "
            f"{own.channels}x{own.resolution}x{own.resolution}; give other --data."
        )
    if own.label_dim and images.label_dim != own.label_dim:
        raise UsageError(
            f"the data set {wanted!r} has {images.label_dim or 'no'} classes, {name!r} is conditioned on {own.label_dim}; "
            "give --data with its labels."
        )
    return dataset


@dataclass(frozen=True)
class InitialGenerator:
    """A file of generator weights, and what making them cost; of a released generator that is not known and counts as nothing."""

    file: Path
    digest: str
    flops: int = 0
    seconds: float = 0.0
    reader: type[Teacher] | None = None
    """Of a released generator: the teacher that reads such files."""

    def weights(self) -> dict[str, Tensor]:
        """The generator's tensors by name."""
        return self.reader(self.file).denoiser.state_dict() if self.reader else load_tensors(self.file)[0]


def find_initial_generator(source: str, teacher: Teacher) -> InitialGenerator:
    """What ``source`` means: a run's folder, a generator's weights file, or ``released:NAME``, which is fetched.

    Raises UsageError for anything else, and for a generator that was made from another teacher than ``teacher``.
    """
    name = teacher.name
    kind, _, known = source.partition(":")
    if kind == "released":
        released = registry.released.get(known)
        if released.teacher != name:
            raise UsageError(f"the starting generator {source!r} was made from {released.teacher!r}, not {name!r}; give another.")
        file = fetch(released.weights)
        return InitialGenerator(file, sha256(file), reader=registry.teachers.get(released.teacher))
    path = Path(source)
    a_run = path.is_dir() or (results_folder() / source).is_dir()
    file = find_run(source, path.parent if path.is_dir() else results_folder())[0].weights if a_run else path
    if a_run and not file.is_file():
        raise UsageError(f"the run {source!r} has no generator yet; finish it first, or start from another.")
    if not file.is_file():
        released_ones = [f"released:{n}" for n in registry.released.entries() if registry.released.get(n).teacher == name]
        raise UsageError(
            f"unknown starting generator {source!r}; give a run's id or folder, its generator.safetensors, or one of "
            f"{', '.join(released_ones) or 'none released for this teacher'}."
        )
    meta = load_tensors(file)[1] if file.suffix == ".safetensors" else {}
    if "recipe" not in meta:
        raise UsageError(f"the starting generator {source!r} is not a run's; give its folder or its generator.safetensors.")
    if meta["recipe"].get("teacher_digest") != teacher.digest():
        raise UsageError(f"the starting generator {source!r} was made from another teacher than {name!r}; give another.")
    cost = meta.get("cost", {})
    return InitialGenerator(file, sha256(file), int(cost.get("flops", 0)), float(cost.get("seconds", 0.0)))
