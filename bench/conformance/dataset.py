"""The facts that a data set keeps, each looked at on a few of its images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.conformance.finding import Check, Doubt, Fault
from bench.plugin.dataset import Dataset, Pixels, checked_images, find_dataset

IMAGES = 64
"""Largest number of images that are read at once."""


@dataclass
class DatasetSubject:
    """A data set by its name, read from where it usually lies."""

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, opened."""
        return find_dataset(self.name)()

    @cached_property
    def indices(self) -> list[int]:
        """Places from its beginning to its end, rising."""
        count = len(self.dataset)
        return sorted({i * (count - 1) // max(IMAGES - 1, 1) for i in range(IMAGES)} if count else set())

    def read(self, indices: list[int], dataset: Dataset | None = None) -> Pixels:
        """Read some images, and look at shapes and types."""
        dataset = dataset or self.dataset
        return checked_images(dataset, dataset.read(indices), len(indices))


def opens_and_has_images(subject: DatasetSubject) -> None:
    """It opens, has images, and reads them as uint8 of the size that it states."""
    if not len(subject.dataset):
        raise Fault("it has no images", "look at where it reads them from")
    subject.read(subject.indices)


def images_use_their_range(subject: DatasetSubject) -> None:
    """Its images are in 0 to 255, not in 0 to 1, and differ from each other."""
    images, _ = subject.read(subject.indices)
    if images.max() <= 1:
        raise Fault(
            f"the largest value of its images is {int(images.max())}, expected up to 255",
            "multiply images in [0, 1] by 255 before they become uint8; to_uint8 takes those in [-1, 1]",
        )
    if len(images) > 1 and all(torch.equal(image, images[0]) for image in images):
        raise Fault("all its images are the same", "look at how an index becomes an image")


def labels_are_in_range(subject: DatasetSubject) -> None:
    """Its labels are classes from 0, int64 (N,), or vectors, float32 (N, label_dim), as image_spec says."""
    _, labels = subject.read(subject.indices)
    length = subject.dataset.image_spec.label_dim
    if (labels is None) != (length == 0):
        raise Fault(
            f"it reads {'no' if labels is None else 'some'} labels, and image_spec says label_dim {length}",
            "let image_spec say the number of classes, or 0 without labels",
        )
    if labels is None:
        return
    wanted = torch.int64 if labels.ndim == 1 else torch.float32
    if labels.dtype != wanted:
        raise Fault(f"its labels are of {labels.dtype}, expected {wanted}", f"return them as {wanted}")
    if labels.ndim == 1 and not (int(labels.min()) >= 0 and int(labels.max()) < length):
        raise Fault(
            f"its labels go from {int(labels.min())} to {int(labels.max())}, with label_dim {length}",
            "number the classes from 0 to label_dim - 1",
        )
    if labels.ndim == 1 and length > 1 and len(set(labels.tolist())) == 1 and len(labels) == IMAGES:
        raise Doubt(
            "all images that were looked at are of one class", "look at how labels are matched to images"
        )


def order_is_the_same_each_time(subject: DatasetSubject) -> None:
    """An index means the same image each time, in any order of reading, and when it is opened anew."""
    forwards = subject.read(subject.indices)
    backwards = subject.read(subject.indices[::-1])
    anew = subject.read(subject.indices, find_dataset(subject.name)())
    if not _equal(
        forwards, (backwards[0].flip(0), None if backwards[1] is None else backwards[1].flip(0))
    ):
        raise Fault(
            "an index means another image or label when it is read in another order",
            "return the image at each index asked for, in the order asked for",
        )
    if not _equal(forwards, anew):
        raise Fault(
            "an index means another image or label when the data set is opened again",
            "sort the files by name, and seed what is drawn",
        )


def batches_are_the_same_images(subject: DatasetSubject) -> None:
    """`batches` yields the images of `read`, in order."""
    images, _ = next(iter(subject.dataset.batches(min(IMAGES, len(subject.dataset)))))
    if not torch.equal(images, subject.read(list(range(len(images))))[0]):
        raise Fault(
            "`batches` yields other images than `read`", "leave `batches` as the base class has it"
        )


def _equal(a: Pixels, b: Pixels) -> bool:
    labels = a[1] is b[1] if a[1] is None or b[1] is None else torch.equal(a[1], b[1])
    return labels and torch.equal(a[0], b[0])


GATES: tuple[Check, ...] = (opens_and_has_images,)
CHECKS: tuple[Check, ...] = (
    images_use_their_range,
    labels_are_in_range,
    order_is_the_same_each_time,
    batches_are_the_same_images,
)
