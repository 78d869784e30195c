"""What a method requires beside the teacher: looked for, and complained about, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.assets import fetch
from bench.dataset import Dataset, find_dataset
from bench.errors import UsageError
from bench.files import content_digest
from bench.method import PublishedFile, RealImages, Requirement, StartingGenerator, TeacherPairs
from bench.start import Start, find_start
from bench.teacher import Teacher


@dataclass
class Supplies:
    """What was found. The teacher's pairs are made later, by the run, as they are its first work."""

    real: Dataset | None = None
    start: Start | None = None
    pairs: TeacherPairs | None = None
    digests: dict[str, str] = field(default_factory=dict)
    """By kind: what identifies the content, for the recipe."""
    files: list[Path] = field(default_factory=list)
    """What was read."""


def find_supplies(method: str, requirements: Sequence[Requirement], teacher: Teacher, name: str, data: str | None) -> Supplies:
    """Meet a method's requirements. ``data`` is a data set's name or path in place of the teacher's own.

    Raises UsageError that says what to fetch or which flag to give.
    """
    found = Supplies()
    if data and not any(isinstance(wanted, RealImages) for wanted in requirements):
        raise UsageError(f"method {method!r} needs no real images under these settings, given --data {data!r}; leave it out.")
    for wanted in requirements:
        match wanted:
            case TeacherPairs():
                found.pairs = wanted
            case PublishedFile(asset, channels) if channels not in (None, teacher.images.channels):
                raise UsageError(
                    f"{asset.file} is for images of {channels} channels, {name!r} makes images of {teacher.images.channels}; "
                    f"choose a setting of {method!r} that does without, such as --set distance=l2."
                )
            case PublishedFile(asset):
                found.files.append(fetch(asset))
                found.digests[asset.id] = str(asset.digest())
            case StartingGenerator(source):
                found.start = find_start(source, teacher, name)
                found.files.append(found.start.file)
                found.digests["start"] = found.start.digest
            case RealImages():
                found.real = _real_images(method, teacher, name, data)
                path = Path(data or "")
                found.files += [path] if data and path.exists() else []
                found.digests["real"] = content_digest(path) if data and path.exists() else str(data or teacher.dataset)
    return found


def _real_images(method: str, teacher: Teacher, name: str, data: str | None) -> Dataset:
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
    images, own = dataset.images, teacher.images
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
