"""Read statistics of images, and images, that others publish as ``.npz``, numpy's zip of arrays.

The files are data from strangers. A header's declarations are compared with the bytes that are
there before anything is allocated, reading goes in short pieces, and nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from bench.errors import UsageError, few, one_line, shown
from bench.files.atomic import require_readable

MOST_BYTES = 2**32
"""Largest array that is read; 50,000 images of 64x64 pixels have 6e8 bytes."""
MOST_FEATURES = 4096
"""Largest dimension of a feature: VGG's has as many, Inception's half."""

_ROUNDING = {"float32": 1e-4, "float64": 1e-6}
"""By number type, how far a matrix may be from a covariance, relative to its largest number."""
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_HEADER = 1024
"""Most bytes of an array's header, since parsing a long one is not safe; numpy writes 128."""
_PIECE = 2**17


@dataclass(frozen=True)
class StatisticsFile:
    """The content of a published file of statistics.

    EDM, pytorch-fid, and clean-fid for FID publish moments; clean-fid for KID, features; OpenAI's
    guided-diffusion, images, which are samples, or real images beside the moments of the whole set
    that they were taken from. The file does not say which images were measured, nor by which
    extractor after which resize.
    """

    path: Path
    moments: dict[str, Tensor] | None
    """Mean ``mu`` (d,) and covariance ``sigma`` (d, d) in float64, if the file has them."""
    features: Tensor | None
    """Features (N, d) in float32, if the file has them."""
    has_images: bool

    def images(self) -> Tensor:
        """Read the images, uint8 (N, C, R, R); in memory the channels of a pixel lie together.

        Raises UsageError if there are none, or they are damaged or larger than ``MOST_BYTES``.
        """
        with _arrays(self.path, _STATISTICS) as arrays:
            return _pixels(arrays)


def read_npz(path: Path) -> StatisticsFile:
    """Read the moments and features of a published file; its images, if any, are read later.

    Other arrays are ignored. Raises UsageError for a file of another layout, and for one that is
    damaged or whose ``sigma`` is no covariance.
    """
    with _arrays(path, _STATISTICS) as arrays:
        _require_one_of(arrays, ("mu", "sigma", "arr_0", "feats"), "mu and sigma, or arr_0, or feats")
        if has_images := "arr_0" in arrays:
            _images(arrays)
        moments = _moments(arrays) if arrays.keys() & {"mu", "sigma"} else None
        features = _features(arrays["feats"]) if "feats" in arrays else None
        return StatisticsFile(path, moments, features, has_images)


def read_npz_images(path: Path) -> Tensor:
    """Read the samples in a file, uint8 (N, C, R, R); in memory the channels of a pixel lie together.

    Raises UsageError for a file of another layout, one that is damaged or larger than ``MOST_BYTES``, and
    for statistics, beside which some of their images may lie.
    """
    with _arrays(path, _IMAGES) as arrays:
        if arrays.keys() & {"mu", "sigma", "feats"}:
            raise ValueError("it holds statistics of images, which are a --reference")
        _require_one_of(arrays, ("arr_0",), "arr_0 of uint8 (N, R, R, 3), as guided-diffusion writes it")
        return _pixels(arrays)


# -- what the arrays mean --------------------------------------------------------------------------


def _require_one_of(arrays: Mapping[str, _Array], names: Collection[str], expected: str) -> None:
    if not arrays.keys() & {*names}:
        held = few((shown(name) for name in arrays), 3)
        raise ValueError(f"it holds {held or 'nothing'}, expected {expected}")


def _moments(arrays: Mapping[str, _Array]) -> dict[str, Tensor]:
    if not {"mu", "sigma"} <= arrays.keys():
        raise ValueError("it holds one of mu and sigma, expected both")
    mu, sigma = arrays["mu"], arrays["sigma"]
    d = math.prod(mu.shape)
    mu.require(
        _ROUNDING, mu.shape == (d,) and 1 <= d <= MOST_FEATURES, f"(d,) with d at most {MOST_FEATURES:,}"
    )
    sigma.require(_ROUNDING, sigma.shape == (d, d), f"({d}, {d}) since mu has {d}")
    moments = {array.name: _finite(array).double() for array in (mu, sigma)}
    _require_covariance(moments["sigma"], _ROUNDING[sigma.dtype.name])
    return moments


def _features(feats: _Array) -> Tensor:
    fits = len(feats.shape) == 2 and feats.shape[0] >= 1 and 1 <= feats.shape[1] <= MOST_FEATURES
    feats.require(_ROUNDING, fits, f"(N, d) with d at most {MOST_FEATURES:,}")
    return _finite(feats).float()


def _images(arrays: Mapping[str, _Array]) -> _Array:
    """Return the array of images, checked and not yet read."""
    if "arr_0" not in arrays:
        raise ValueError("it holds no images, expected arr_0, as OpenAI's have")
    images = arrays["arr_0"]
    n, r = images.shape[:2] if len(images.shape) == 4 else (0, 0)
    square = images.shape in ((n, r, r, 3), (n, r, r, 1))
    images.require(["uint8"], n >= 1 and r >= 1 and square, "(N, R, R, 3), or with 1 channel")
    return images


def _pixels(arrays: Mapping[str, _Array]) -> Tensor:
    return _images(arrays).numbers().permute(0, 3, 1, 2)


def _finite(array: _Array) -> Tensor:
    numbers, most = array.numbers(), torch.finfo(torch.float32).max
    low, high = numbers.aminmax()
    if not -most <= low <= high <= most:
        raise ValueError(f"{array.name} has NaN, infinite or enormous values")
    return numbers


def _require_covariance(sigma: Tensor, rounding: float) -> None:
    scaled = sigma / (sigma.abs().max() or 1.0)
    if (scaled - scaled.T).abs().max() > rounding:
        raise ValueError("sigma is not symmetric, expected a covariance")
    if scaled.diagonal().min() < -rounding:
        raise ValueError("sigma has a negative number on its diagonal, expected a covariance")
    scaled.diagonal().add_(rounding)
    if torch.linalg.cholesky_ex(scaled).info:
        raise ValueError("sigma has a negative eigenvalue, expected a covariance")


# -- arrays in an archive --------------------------------------------------------------------------


_STATISTICS = "no statistics", "fetch it again, or make statistics with `bench stats`"
_IMAGES = "no images", "save them as uint8 (N, R, R, 3), or as a zip or folder of PNG files"
"""What a refused file does not hold for its reader, and what to do about it."""


@contextmanager
def _arrays(path: Path, use: tuple[str, str]) -> Iterator[dict[str, _Array]]:
    """Yield the arrays of an open archive by name, raising any error in this context as UsageError."""
    what, (lacking, advice) = f"the npz file {str(path)!r}", use
    require_readable(path, what)
    try:
        with _File(path) as file:
            if file.read(2) != b"PK":
                raise ValueError("it does not begin as a zip, which numpy's .npz is")
            archive = zipfile.ZipFile(file)
            arrays = [_Array(archive, member) for member in archive.infolist()]
            named = {array.name: array for array in arrays}
            if len(named) < len(arrays):
                raise ValueError("two of its arrays have one name")
            yield named
    except Exception as error:  # zipfile and numpy raise some ten unrelated types on damaged bytes
        reason = one_line(error, 200) or f"it is damaged ({type(error).__name__})"
        raise UsageError(f"{what} holds {lacking} that this suite reads: {reason}; {advice}.") from None


class _File(io.FileIO):
    """A file that is read in short pieces, whatever length the zip declares for its directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(_PIECE if size is None or size < 0 else min(size, _PIECE))


class _Array:
    """An array in an archive, whose header is read at once and whose numbers are read on demand."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self.name = member.filename.removesuffix(".npy")
        if member.flag_bits & 1 or member.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError(
                f"its member {shown(member.filename)} is encrypted, or packed as numpy packs none"
            )
        self.stream = archive.open(member)
        self.start = io.BytesIO(self.stream.read(_HEADER))
        try:
            with warnings.catch_warnings(action="ignore"):  # of headers by Python 2
                self.shape, fortran, dtype = _READERS[npy.read_magic(self.start)](self.start)
        except Exception:  # Python's parser raises many types, with messages of no use to a person
            raise ValueError(
                f"its member {shown(member.filename)} does not begin as numpy begins an array"
            ) from None
        self.order: Literal["F", "C"] = "F" if fortran else "C"
        self.dtype: np.dtype[Any] = dtype
        self.size = member.file_size - self.start.tell()

    def require(self, types: Mapping[str, float] | list[str], fits: bool, expected: str) -> None:
        """Raise ValueError for a number type, a shape or a size that is not as expected."""
        header = f"{self.name} is {str(self.dtype)[:30]} {str(self.shape)[:50]}"
        if not fits or self.dtype.name not in types:
            raise ValueError(f"{header}, expected {' or '.join(types)} {expected}")
        if math.prod(self.shape) * self.dtype.itemsize != self.size:
            raise ValueError(f"{header} and has {self.size:,} bytes, expected as many as its shape says")

    def numbers(self) -> Tensor:
        """Read the numbers, after ``require``.

        Memory grows with the bytes that are there, not those declared.
        """
        if self.size > MOST_BYTES:
            raise ValueError(f"{self.name} has {self.size:,} bytes, at most {MOST_BYTES:,} are read")
        content = bytearray(self.start.read())
        while piece := self.stream.read(_PIECE):
            content += piece
        if len(content) != self.size:
            raise ValueError(f"{self.name} ends after {len(content):,} of {self.size:,} bytes")
        numbers = np.frombuffer(content, self.dtype).reshape(self.shape, order=self.order)
        return torch.from_numpy(numbers.astype(self.dtype.newbyteorder("="), copy=False))
