"""Files of numpy arrays, put together by hand so that each part of them may be wrong."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.lib import format as npy


def header(descr: str = "'<f8'", order: str = "False", shape: str = "(5,)", more: str = "") -> bytes:
    """The header of an array; each field is Python text, which need not be right."""
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}".encode()


def member(
    numbers: np.ndarray,
    header: bytes | None = None,
    version: tuple[int, int] = (1, 0),
    length: int | None = None,
) -> bytes:
    """The bytes of an array, with another header if one is given."""
    if header is None:
        file = BytesIO()
        npy.write_array(file, numbers)
        return file.getvalue()
    header += b" " * (53 - len(header) % 64 + 64) + b"\n"
    size = len(header) if length is None else length
    return (
        npy.magic(*version)
        + struct.pack("<H" if version == (1, 0) else "<I", size)
        + header
        + numbers.tobytes()
    )


def archive(
    arrays: Mapping[str, np.ndarray | bytes],
    method: int = zipfile.ZIP_STORED,
    suffix: str = ".npy",
    prefix: str = "",
) -> bytes:
    """A zip of arrays, or of bytes in their place."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, value in arrays.items():
            made.writestr(
                f"{prefix}{name}{suffix}", value if isinstance(value, bytes) else member(value)
            )
    return file.getvalue()
