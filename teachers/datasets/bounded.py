"""Read files that may be larger than they declare, or damaged."""

import gzip
import zlib
from pathlib import Path
from typing import IO

from bench.plugin import UsageError


def read_at_most(file: IO[bytes] | gzip.GzipFile, limit: int, what: str) -> bytearray:
    """Read all of an open file. Raises UsageError beyond ``limit`` bytes, whatever size is declared."""
    content = bytearray()
    while chunk := file.read(2**20):
        content += chunk
        if len(content) > limit:
            raise UsageError(
                f"{what} holds more than {limit:,} bytes, which no genuine one does; check where it is from."
            )
    return content


def is_gzip_of(path: Path, beginning: bytes) -> bool:
    """Tell whether what a gzipped file holds begins so; False for a damaged one."""
    try:
        with gzip.open(path) as file:
            return file.read(len(beginning)) == beginning
    except (OSError, EOFError, zlib.error):
        return False


def read_gzip(path: Path, limit: int) -> bytearray:
    """Read a file, unpacking it if it is gzipped.

    Raises UsageError for a damaged file, or beyond ``limit`` bytes.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            return read_at_most(file, limit, f"the file {str(path)!r}")
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"the file {str(path)!r} cannot be read ({error}); get it again.") from None
