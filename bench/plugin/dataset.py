"""The contract of a data set of real images, how to open one by name, and EDM's subset and mirror."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import registry
from bench.errors import BenchError, UsageError
from bench.plugin.images import ImageSpec
from bench.plugin.shapes import require_shape

Pixels = tuple[Tensor, Tensor | None]
"""Uint8 images (N, C, H, W) with their labels, as a data set reads them."""


class Dataset(ABC):
    """Real images in a fixed order, read by index.

    A registered class is called with ``path``: a file or folder to read in place of the usual one,
    or None.
    """

    @property
    @abstractmethod
    def image_spec(self) -> ImageSpec:
        """Size of the images.

        ``label_dim`` is the number of classes, or the length of the label vectors; 0 without
        labels.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Pixels:
        """Read the images at ``indices``, each from 0 to ``len(self) - 1``, in this order.

        Returns images uint8 (N, C, H, W), and their labels: classes int64 (N,), vectors float32
        (N, label_dim), or None.
        """

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield all images in order, ``size`` at a time, as ``read`` returns them."""
        for first in range(0, len(self), size):
            yield self.read(range(first, min(first + size, len(self))))


class InMemory(Dataset):
    """A data set in memory.

    Args:
        pixels: images uint8 (N, C, H, W).
        labels: classes int64 (N,), vectors float32 (N, label_dim), or None.
    """

    def __init__(self, pixels: Tensor, labels: Tensor | None = None) -> None:
        self.pixels, self.labels = pixels, labels

    @property
    def image_spec(self) -> ImageSpec:
        return ImageSpec(self.pixels.shape[1], self.pixels.shape[2], label_dim(self.labels))

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return self.pixels[chosen], None if self.labels is None else self.labels[chosen]


def label_dim(labels: Tensor | None) -> int:
    """Return EDM's label dimension: largest class + 1, or length of the vectors, or 0 without labels."""
    if labels is None:
        return 0
    return int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]


class Subset(Dataset):
    """EDM's ``max_size``: so many images, chosen by a seeded shuffle and kept in their order."""

    def __init__(self, dataset: Dataset, max_size: int, seed: int = 0) -> None:
        self.dataset, self.kept = dataset, np.arange(len(dataset))
        if len(dataset) > max_size:
            np.random.RandomState(seed % 2**31).shuffle(self.kept)  # legacy, for EDM's choice
            self.kept = np.sort(self.kept[:max_size])

    @property
    def image_spec(self) -> ImageSpec:
        return self.dataset.image_spec

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        return self.dataset.read(self.kept[np.asarray(indices, dtype=np.int64)].tolist())


class Mirrored(Dataset):
    """EDM's ``xflip``: all images, then all of them mirrored left to right, with the same labels."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def image_spec(self) -> ImageSpec:
        return self.dataset.image_spec

    def __len__(self) -> int:
        return 2 * len(self.dataset)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        originals = len(self.dataset)
        images, labels = self.dataset.read([i % originals for i in indices])
        mirrored = torch.tensor([i >= originals for i in indices], dtype=torch.bool)
        return torch.where(mirrored[:, None, None, None], images.flip(3), images), labels


def prepared(dataset: Dataset, *, max_size: int | None = None, xflip: bool = False) -> Dataset:
    """Return a data set under EDM's two options in EDM's order: the subset, then the mirrored images."""
    if max_size is not None:
        dataset = Subset(dataset, max_size)
    return Mirrored(dataset) if xflip else dataset


def find_dataset(name: str, path: Path | None = None, *, labels: bool = True) -> Callable[[], Dataset]:
    """Return a function that opens the data set ``name``; see ``open_dataset``. Nothing is read yet.

    Without ``labels`` those of a file or folder are neither read nor needed.
    """
    if name not in registry.datasets.entries() and path is None:
        if os.sep in name or Path(name).exists():
            return partial(registry.datasets.get("files"), Path(name), labels=labels)  # type: ignore[call-arg]
        if name in registry.teachers.entries():
            dataset = getattr(registry.teachers.get(name), "dataset", "another")
            raise UsageError(f"{name!r} is a teacher; its data set is {dataset!r}, say that.")
    return partial(registry.datasets.get(name), path)


def checked_images(dataset: Dataset, read: Pixels, count: int) -> Pixels:
    """What a data set has read of ``count`` images.

    Raises BenchError, which names data set and field, for images that are not uint8 of its own size, and for
    labels that are not one for each image.
    """
    images, labels = read
    whose = f"what `read` of the data set {type(dataset).__name__} returns"
    size = dataset.image_spec.shape
    require_shape(images, (count, *size), f"{whose} as images", "return one image for each index")
    if images.dtype != torch.uint8:
        raise BenchError(f"{whose} as images is of {images.dtype}, expected torch.uint8 from 0 to 255.")
    if labels is not None:
        length = () if labels.ndim == 1 else (dataset.image_spec.label_dim,)
        require_shape(labels, (count, *length), f"{whose} as labels", "return one label for each index")
    return read


def open_dataset(name: str, path: Path | None = None) -> Dataset:
    """Open the data set registered under ``name``, or the one in the file or folder ``name``.

    A registered name comes first: ``./digits`` is a folder of that name. ``path`` is read in place
    of the usual file or folder. Raises UsageError for a name that is neither registered nor a path.
    """
    return find_dataset(name, path)()


def refuse_path(name: str, path: Path | None) -> None:
    """Raise UsageError if ``path`` is not None, for a data set that is made and not read."""
    if path is not None:
        raise UsageError(
            f"the data set {name!r} is made and not read from a file, given {str(path)!r}; leave "
            "the path out."
        )


class ContentDigest:
    """SHA-256 of the images and labels of a data set in order, the same for every size of batch."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.images, self.labels = hashlib.sha256(), hashlib.sha256()

    def update(self, images: Tensor, labels: Tensor | None) -> None:
        """Add a batch of images and their labels."""
        self.images.update(images.numpy().tobytes())
        self.kinds.add(f"images {tuple(images.shape[1:])}; ")
        if labels is not None:
            self.labels.update(labels.numpy().tobytes())
            self.kinds.add(f"labels {labels.dtype} {tuple(labels.shape[1:])}; ")

    def hexdigest(self) -> str:
        """Return the digest so far: of the shapes, then of the images, then of the labels."""
        whole = hashlib.sha256("".join(sorted(self.kinds)).encode())
        whole.update(self.images.digest() + self.labels.digest())
        return whole.hexdigest()
