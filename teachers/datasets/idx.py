"""The idx files of MNIST and its successors: a header of big-endian integers, then bytes."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from bench.plugin import InMemory, UsageError
from teachers.datasets.bounded import read_gzip

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
IMAGES_BYTES, LABELS_BYTES = 2**27, 2**20
"""The 60,000 images of MNIST and of its successors are 47 MB."""


def is_idx_folder(path: Path) -> bool:
    """Whether the images of the training set lie here."""
    return _file(path, IMAGES).is_file()


def idx_folder(path: Path, *, labels: bool = True) -> InMemory:
    """The training set in a folder of idx files, gzipped or not: square grey images with their classes.

    Raises UsageError unless both files are there, of the length that their headers declare, and of equal count.
    """
    pixels = _read(_file(path, IMAGES), 3, IMAGES_BYTES)
    if pixels.shape[1] != pixels.shape[2]:
        raise UsageError(f"the idx file {str(_file(path, IMAGES))!r} has images {tuple(pixels.shape)}, expected square ones.")
    if not labels:
        return InMemory(pixels[:, None])
    classes = _read(_file(path, LABELS), 1, LABELS_BYTES)
    if len(classes) != len(pixels):
        raise UsageError(
            f"the idx files in {str(path)!r} have {len(pixels):,} images and {len(classes):,} labels; expected as many of both."
        )
    return InMemory(pixels[:, None], classes.long())


def _file(folder: Path, name: str) -> Path:
    """The gzipped file, or the plain one where that is there."""
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _read(file: Path, dimensions: int, limit: int) -> Tensor:
    """An array of bytes: after two zeros, type 8 and the number of dimensions come their sizes, each four bytes."""
    content = read_gzip(file, limit)
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise UsageError(
            f"the file {str(file)!r} begins with {content[:4].hex() or 'nothing'}, "
            f"expected 0000080{dimensions}, an idx file of bytes in {dimensions} dimensions; get it again."
        )
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    if not math.prod(sizes) == len(content) - header > 0:
        raise UsageError(
            f"the idx file {str(file)!r} declares {' x '.join(map(str, sizes))} bytes, "
            f"and has {len(content) - header:,}, expected as many and some; get it again."
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).reshape(sizes)
