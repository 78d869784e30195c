"""Read EDM's data sets: a zip or a folder of images, with their labels beside them."""

import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bench.files.atomic import files_in, is_litter
from bench.plugin import Dataset, ImageSpec, UsageError, label_dim
from teachers.datasets.bounded import read_at_most

LABELS = "dataset.json"
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP")
"""Formats that are decoded: those of photographs, and none that PIL passes to another program."""
CHANNELS = {"L": 1, "RGB": 3}
CONVERTED = {"1": "L", "LA": "L", "P": "RGB", "RGBA": "RGB"}
"""Modes that say the same as grey or RGB in other words, for as long as no pixel is transparent."""
LARGEST = 2048
"""Most pixels in a row."""
IMAGE_BYTES = 2**26
LABELS_BYTES, LABEL_BYTES = 2**20, 200
"""Most bytes of ``dataset.json``, and as many more for each image; ImageNet's has 40 for each.
Parsed it is up to 25 times larger."""
MOST_CLASSES = 100_000
"""Most classes; a larger index is taken for damage, since one-hot vectors are that long."""
_CLASS, _OTHER = f"class from 0 to {MOST_CLASSES - 1:,}", "something that is no label"


class ZipFiles:
    """The files in a zip. They are never unpacked to disk, so that their names can do no harm."""

    def __init__(self, path: Path) -> None:
        self.zip = zipfile.ZipFile(path)
        entries = [entry for entry in self.zip.infolist() if not entry.is_dir()]
        self.names = [entry.filename for entry in entries if not is_litter(entry.filename)]
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"the zip {str(path)!r} holds two files of one name; make it again.")

    def open(self, name: str) -> IO[bytes]:
        return self.zip.open(name)


def names_in_zip(path: Path) -> list[str]:
    """List the files in a zip; none for a damaged one, which says so when it is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


class FolderFiles:
    """The files in a folder and below it, by their path from there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = [file.relative_to(path).as_posix() for file in files_in(path)]

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")


class ImageFiles(Dataset):
    """The images of a zip or folder in the order of their names, with their labels, as in EDM.

    All images are square, of one size, and RGB or grey, also by a palette or with an alpha channel that
    is opaque. Labels stand in ``dataset.json``; without it there are none: folders are not classes.
    Files that file browsers and notebooks leave are no images. Raises UsageError for anything else,
    and for a damaged image when it is read.
    """

    def __init__(self, path: Path, *, labels: bool = True) -> None:
        self.where = repr(str(path))
        with self._sound("the data set"):
            self.files = FolderFiles(path) if path.is_dir() else ZipFiles(path)
        known = Image.registered_extensions()
        self.names = sorted(
            name for name in self.files.names if os.path.splitext(name)[1].lower() in known
        )
        if not self.names:
            raise UsageError(
                f"there are no images in {self.where}; give an EDM data set: a zip or a folder of PNG files."
            )
        _, self.size = self._open(self.names[0])
        _, width, height = self.size
        if width != height or width > LARGEST:
            raise UsageError(
                f"the images of {self.where} are {width}x{height}, expected square ones of at most "
                f"{LARGEST}; crop and resize them first."
            )
        self.labels = None
        if labels and LABELS in self.files.names:
            text = self._bytes(LABELS, LABELS_BYTES + LABEL_BYTES * len(self.names))
            self.labels = parse_labels(text, self.names, self.where)

    @cached_property
    def image_spec(self) -> ImageSpec:
        return ImageSpec(self.size[0], self.size[1], label_dim(self.labels))

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        pixels = torch.empty(len(indices), *self.image_spec.shape, dtype=torch.uint8)
        for image, index in zip(pixels, indices, strict=True):
            image.copy_(self._pixels(self.names[index]))
        return pixels, None if self.labels is None else self.labels[
            torch.as_tensor(indices, dtype=torch.int64)
        ]

    def _pixels(self, name: str) -> Tensor:
        image, size = self._open(name)
        if size != self.size:  # so that no more is decoded than expected
            this, first = ("x".join(map(str, s)) for s in (size, self.size))
            raise UsageError(
                f"the image {name!r} of {self.where} is {this} and the first one {first}, expected "
                "one size and one number of channels; convert them first."
            )
        with self._sound(f"the image {name!r}"):
            decoded = np.array(image.convert(CONVERTED.get(image.mode, image.mode)))
            alpha = image.convert("RGBA").getchannel("A") if _may_be_transparent(image) else None
        if alpha is not None and alpha.getextrema() != (255, 255):
            raise UsageError(
                f"the image {name!r} of {self.where} has transparent pixels, whose colour depends on "
                "what is behind them; put it on a background and save it as RGB."
            )
        return torch.from_numpy(decoded).reshape(size[2], size[1], size[0]).permute(2, 0, 1)

    def _open(self, name: str) -> tuple[Image.Image, tuple[int, int, int]]:
        """Return an image that is not decoded yet, and its channels, width and height."""
        content = self._bytes(name, IMAGE_BYTES)
        with self._sound(f"the image {name!r}"), warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(BytesIO(content), formats=FORMATS)
        mode = CONVERTED.get(image.mode, image.mode)
        if mode not in CHANNELS:
            raise UsageError(
                f"the image {name!r} of {self.where} has Pillow's mode {image.mode!r}, expected 8-bit L "
                "(grey) or RGB; convert it first, as its colours can be read in several ways."
            )
        return image, (CHANNELS[mode], image.width, image.height)

    def _bytes(self, name: str, limit: int) -> bytearray:
        with self._sound(f"the file {name!r}"), self.files.open(name) as file:
            return read_at_most(file, limit, f"the file {name!r} of {self.where}")

    @contextmanager
    def _sound(self, what: str) -> Iterator[None]:
        """Raise UsageError in place of the ten types that zipfile and PIL raise on damaged bytes."""
        try:
            yield
        except UsageError:
            raise
        except UnidentifiedImageError:
            raise UsageError(
                f"{what} of {self.where} cannot be read, it is none of {', '.join(FORMATS)}; remove it, "
                "or get it or make it again."
            ) from None
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or "damaged"
            raise UsageError(
                f"{what} of {self.where} cannot be read ({type(error).__name__}: {reason}); get "
                "it or make it again."
            ) from None


def _may_be_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def parse_labels(text: bytes | bytearray, names: list[str], where: str) -> Tensor | None:
    """Read the labels of the images ``names`` from a ``dataset.json``.

    The file holds ``{"labels": [[name, label], ...]}`` or ``{"labels": null}``. Returns int64
    classes (N,) if all labels are whole numbers, float32 vectors (N, d) if all are lists of d numbers,
    and None for null. Raises UsageError unless each image has exactly one label, all labels are of
    one kind, and there are no others.
    """
    where = f"dataset.json of {where}"
    try:
        pairs = json.loads(text)["labels"]
        by_name = None if pairs is None else dict(pairs)
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(
            f'{where} is not of the form {{"labels": [["name.png", 0], ...]}} '
            f"({type(error).__name__}); make it with EDM's tool."
        ) from None
    if by_name is None:
        return None
    if len(by_name) < len(pairs):
        raise UsageError(
            f"{where} has {len(pairs):,} labels for {len(by_name):,} images, so some twice; make it again."
        )
    for what, odd, which in (
        ("lacks", set(names) - by_name.keys(), "images"),
        ("has labels for", by_name.keys() - set(names), "images that are not there"),
    ):
        if odd:
            raise UsageError(
                f"{where} {what} {len(odd):,} {which}, such as {str(min(odd, key=str))[:100]!r}; "
                "make it again."
            )
    labels = [by_name[name] for name in names]
    kinds = {_kind(label): name for name, label in zip(names, labels, strict=True)}
    if len(kinds) == 1 and _OTHER not in kinds:
        return (
            torch.tensor(labels).long() if _CLASS in kinds else torch.tensor(labels, dtype=torch.float32)
        )
    examples = ", ".join(f"{kind} ({name[:100]})" for kind, name in list(kinds.items())[:3])
    raise UsageError(
        f"{where} has {examples}; expected a {_CLASS} for every image, or a vector of one length "
        "for every image."
    )


def _kind(label: Any) -> str:
    if type(label) in (int, float) and 0 <= label < MOST_CLASSES and label == int(label):
        return _CLASS
    if (
        isinstance(label, list)
        and label
        and all(type(v) in (int, float) and abs(v) < 2**53 for v in label)
    ):
        return f"vector of {len(label)}"  # NaN and infinity fail the comparison
    return _OTHER
