"""Data sets in the formats of their publishers, a few images large."""

from __future__ import annotations

import gzip
import io
import json
import math
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

COLOUR = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
"""Twelve images, as pictures have them: (N, height, width, colour)."""
CLASSES = np.arange(12) % 10
"""A class for each of them."""


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Pictures, grey or in colour, as a data set gives them: (N, C, height, width)."""
    images = images[..., None] if images.ndim == 3 else images
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def png(image: np.ndarray) -> bytes:
    """A picture as a PNG file whose pixels are not compressed."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=0)
    return file.getvalue()


# -- EDM's archives --------------------------------------------------------------------------------


def zip_of(path: Path, members: Mapping[str, bytes | str], *, deflated: bool = False) -> Path:
    """A zip of these files, in this order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def edm_names(count: int) -> list[str]:
    """What EDM's dataset_tool calls the images."""
    return [f"{i // 1000:05d}/img{i:08d}.png" for i in range(count)]


def edm_zip(
    path: Path,
    images: np.ndarray,
    labels: Sequence[Any] | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """As EDM's dataset_tool writes it: stored PNG files, then dataset.json. Entries are put in from
    the last to the first.
    """
    names = edm_names(len(images))
    pictures = {name: png(image) for name, image in reversed(list(zip(names, images, strict=True)))}
    pairs = labels and [list(pair) for pair in zip(names, labels, strict=True)]
    return zip_of(path, pictures | dict(extra or {}) | {"dataset.json": json.dumps({"labels": pairs})})


def unzipped(archive: Path) -> Path:
    """A folder of what is in an archive, beside it."""
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


# -- CIFAR-10 --------------------------------------------------------------------------------------


def python2_batch(
    pixels: np.ndarray,
    classes: Sequence[int],
    module: str = "numpy.core.multiarray",
    dtype: bytes = b"u1",
) -> bytes:
    """A batch as Python 2's cPickle wrote it: protocol 2, with its 8-bit strings."""

    def string(text: bytes) -> bytes:
        return (
            b"U" + bytes([len(text)]) + text
            if len(text) < 256
            else b"T" + struct.pack("<i", len(text)) + text
        )

    rows = pixels.reshape(len(pixels), math.prod(pixels.shape[1:]))
    array = (
        b"c" + module.encode() + b"\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07"
    )
    array += (
        b"(K\x01M" + struct.pack("<H", len(rows)) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
    )
    array += b"cnumpy\ndtype\nq\x08" + string(dtype) + b"K\x00K\x01\x87Rq\x09"
    array += (
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + string(rows.tobytes()) + b"tb"
    )
    stream = b"\x80\x02}q\x01(" + string(b"batch_label") + string(b"training batch 1 of 5")
    stream += string(b"labels") + b"]q\x02(" + b"".join(b"K" + bytes([c]) for c in classes) + b"e"
    stream += string(b"data") + array
    stream += (
        string(b"filenames")
        + b"]q\x0a("
        + b"".join(string(b"camion_s_%06d.png" % i) for i in range(len(rows)))
        + b"e"
    )
    return stream + b"u."


def python3_batch(pixels: np.ndarray, classes: Sequence[int]) -> bytes:
    """A batch as Python 3 writes it."""
    return pickle.dumps({"data": pixels.reshape(len(pixels), -1), "labels": list(classes)}, protocol=4)


def cifar_tar(
    path: Path,
    pixels: np.ndarray | None = None,
    classes: np.ndarray = CLASSES,
    write: Callable[..., bytes] = python2_batch,
    **changes: bytes,
) -> Path:
    """The true layout with a few images a batch; the batches lie in the tar in another order than
    theirs.
    """
    pixels = channels_first(COLOUR).numpy() if pixels is None else pixels
    parts = zip(np.array_split(pixels, 5), np.array_split(classes, 5), strict=True)
    batches = {f"data_batch_{i}": write(p, c.tolist()) for i, (p, c) in enumerate(parts, 1)}
    test = write(pixels[::-1].copy(), classes[::-1].tolist())
    members = {
        "readme.html": b"<html>",
        **dict(reversed(batches.items())),
        "test_batch": test,
        "batches.meta": b"\x80\x02}.",
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (members | changes).items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


# -- MNIST's files ---------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """Bytes as MNIST and its like have them: a header, and the numbers."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files(
    folder: Path, pixels: np.ndarray, classes: np.ndarray, *, zipped: bool = True, split: str = "train"
) -> Path:
    """A folder of the images and the labels for training, or of those for testing, ``t10k``."""
    folder.mkdir(exist_ok=True)
    for name, array in (("images-idx3", pixels), ("labels-idx1", classes)):
        content, name = idx(array.astype(np.uint8)), f"{split}-{name}-ubyte"
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return folder
