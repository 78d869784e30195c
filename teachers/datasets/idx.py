"""Read the idx files of MNIST and its successors: a header of big-endian integers, then bytes."""

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from bench.plugin import InMemory, UsageError
from teachers.datasets.bounded import read_gzip

NAMES = [f"{split}-{{}}{separator}{{}}-ubyte" for split in ("train", "t10k") for separator in "-."]
"""Names of the two files, first those of the training set, then of the test set."""
MAGIC = bytes([0, 0, 8])
"""Bytes that an idx file of bytes begins with; the number of its dimensions follows."""
IMAGES_BYTES, LABELS_BYTES = 2**27, 2**20
"""Most bytes of the two files; the 60,000 images of MNIST and of its successors have 47 MB."""


def is_idx_folder(path: Path, split: str = "") -> bool:
    """Tell whether a folder has the images of a training or test set, or of one ``split``, as an idx file."""
    return bool(_found(path, split))


def idx_folder(path: Path, *, labels: bool = True, split: str = "") -> InMemory:
    """Read the training set in a folder of idx files, gzipped or not, or the test set if there is no
    other: square grey images with classes.

    ``split`` is ``train`` or ``t10k`` for that one alone. Raises UsageError unless the files are as long as
    their headers declare, and, with ``labels``, both there and equal in count.
    """
    if not (found := _found(path, split)):
        raise UsageError(
            f"the folder {str(path)!r} has no {split}-images-idx3-ubyte, gzipped or not; put that file and "
            "that of its labels there."
        )
    name = found[0]
    pixels = idx_images(_file(path, name.format("images", "idx3"))).pixels
    if not labels:
        return InMemory(pixels)
    file = _file(path, name.format("labels", "idx1"))
    if not file.is_file():
        raise UsageError(
            f"the idx images in {str(path)!r} have no labels beside them, expected "
            f"{file.name.removesuffix('.gz')!r} or {file.name!r}; put that file there."
        )
    classes = _read(file, 1, LABELS_BYTES)
    if len(classes) != len(pixels):
        raise UsageError(
            f"the idx files in {str(path)!r} have {len(pixels):,} images and {len(classes):,} "
            "labels; expected as many of both."
        )
    return InMemory(pixels, classes.long())


def idx_images(file: Path) -> InMemory:
    """Read one idx file of square grey images, gzipped or not, without labels."""
    pixels = _read(file, 3, IMAGES_BYTES)
    if pixels.shape[1] != pixels.shape[2]:
        raise UsageError(
            f"the idx file {str(file)!r} has images {tuple(pixels.shape)}, expected square ones."
        )
    return InMemory(pixels[:, None])


def _found(folder: Path, split: str) -> list[str]:
    """Name the sets, the training set first, whose images are in a folder."""
    return [
        name
        for name in NAMES
        if name.startswith(split) and _file(folder, name.format("images", "idx3")).is_file()
    ]


def _file(folder: Path, name: str) -> Path:
    """Return the path of the plain file if it exists, and of the gzipped one otherwise."""
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _read(file: Path, dimensions: int, limit: int) -> Tensor:
    """Read an array of bytes.

    Its header is two zeros, the type 8, the number of dimensions, and their sizes in four bytes
    each.
    """
    content = read_gzip(file, limit)
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != MAGIC + bytes([dimensions]):
        raise UsageError(
            f"the file {str(file)!r} begins with {content[:4].hex() or 'nothing'}, "
            f"expected 0000080{dimensions}, an idx file of bytes in {dimensions} dimensions; get "
            "it again."
        )
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    if not math.prod(sizes) == len(content) - header > 0:
        raise UsageError(
            f"the idx file {str(file)!r} declares {' x '.join(map(str, sizes))} bytes, "
            f"and has {len(content) - header:,}, expected as many and some; get it again."
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).reshape(sizes)
