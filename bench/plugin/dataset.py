"""Real images in a fixed order: what a data set is, where one is found, and the forms in which EDM uses one."""

from __future__ import annotations

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
from bench.errors import UsageError
from bench.plugin.images import ImageSpec


class Dataset(ABC):
    """Real images in a fixed order, read by index.

    A registered one is made as ``cls(path)``: ``path`` is a file or folder in place of the usual one, None means the usual one.
    """

    @property
    @abstractmethod
    def image_spec(self) -> ImageSpec:
        """Size of its images; ``label_dim`` is its number of classes, or the length of its label vectors (0: unlabelled)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """The images at ``indices``, each from 0 to ``len(self) - 1``, in the order asked for.

        Returns uint8 (N, C, H, W), and the labels: classes int64 (N,), vectors float32 (N, label_dim), or None.
        """

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All images in order, ``size`` at a time, as ``read`` gives them."""
        for first in range(0, len(self), size):
            yield self.read(range(first, min(first + size, len(self))))


class InMemory(Dataset):
    """Images uint8 (N, C, H, W) held in memory, and their labels: int64 (N,), float32 (N, label_dim), or None."""

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
    """EDM's rule: the largest class and one, the length of label vectors, or 0 without labels."""
    if labels is None:
        return 0
    return int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]


class Subset(Dataset):
    """EDM's ``max_size``: that many images drawn by a seeded shuffle, in their old order; all of them if there are no more."""

    def __init__(self, dataset: Dataset, max_size: int, seed: int = 0) -> None:
        self.dataset, self.kept = dataset, np.arange(len(dataset))
        if len(dataset) > max_size:
            np.random.RandomState(seed % 2**31).shuffle(self.kept)  # the legacy generator, so that the choice is EDM's
            self.kept = np.sort(self.kept[:max_size])

    @property
    def image_spec(self) -> ImageSpec:
        return self.dataset.image_spec

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        return self.dataset.read(self.kept[np.asarray(indices, dtype=np.int64)].tolist())


class Mirrored(Dataset):
    """EDM's ``xflip``: all images, then all of them mirrored left to right with the same labels."""

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
    """The data set under EDM's two options, in EDM's order: first the subset, then the mirrored images."""
    if max_size is not None:
        dataset = Subset(dataset, max_size)
    return Mirrored(dataset) if xflip else dataset


def find_dataset(name: str, path: Path | None = None) -> Callable[[], Dataset]:
    """What opens the data set that ``open_dataset`` means; nothing is read or downloaded before it is called."""
    if name not in registry.datasets.entries() and path is None:
        if os.sep in name or Path(name).exists():
            name, path = "files", Path(name)
        elif name in registry.teachers.entries():
            known = getattr(registry.teachers.get(name), "dataset", "another")
            raise UsageError(f"{name!r} is a teacher; its data set is {known!r}, say that.")
    return partial(registry.datasets.get(name), path)


def open_dataset(name: str, path: Path | None = None) -> Dataset:
    """The data set registered under ``name``, read from ``path`` if one is given; or the one in the file or folder ``name``.

    A registered name comes first: say ``./digits`` for a folder called digits. Raises UsageError for what is neither.
    """
    return find_dataset(name, path)()


def refuse_path(name: str, path: Path | None) -> None:
    """For a data set that is made and not read. Raises UsageError if a path is given."""
    if path is not None:
        raise UsageError(f"the data set {name!r} is made and not read from a file, given {str(path)!r}; leave the path out.")


class ContentDigest:
    """SHA-256 of the images and labels of a data set in their order, whatever the size of the batches they came in."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.images, self.labels = hashlib.sha256(), hashlib.sha256()

    def update(self, images: Tensor, labels: Tensor | None) -> None:
        """Take in one batch."""
        self.images.update(images.numpy().tobytes())
        self.kinds.add(f"images {tuple(images.shape[1:])}; ")
        if labels is not None:
            self.labels.update(labels.numpy().tobytes())
            self.kinds.add(f"labels {labels.dtype} {tuple(labels.shape[1:])}; ")

    def hexdigest(self) -> str:
        """The digest of everything so far: of the shapes, then of the images, then of the labels."""
        whole = hashlib.sha256("".join(sorted(self.kinds)).encode())
        whole.update(self.images.digest() + self.labels.digest())
        return whole.hexdigest()
