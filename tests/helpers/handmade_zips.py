"""Zips put together by hand: nothing that they declare has to be true."""

from __future__ import annotations

import struct
import zlib


def zip_by_hand(*members: tuple[str, int, bytes, int, int]) -> bytes:
    """A zip of (name, method, bytes as they lie there, declared size, CRC-32); no declaration has
    to be true.
    """
    files, index = b"", b""
    for name, method, content, size, crc in members:
        fields = struct.pack(
            "<HHHHHIIIHH", 20, 0, method, 0, 0x21, crc, len(content), size, len(name), 0
        )
        index += (
            b"PK\x01\x02\x14\x00"
            + fields
            + struct.pack("<HHHII", 0, 0, 0, 0, len(files))
            + name.encode()
        )
        files += b"PK\x03\x04" + fields + name.encode() + content
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(index), len(files), 0)
    return files + index + b"PK\x05\x06" + end


def deflated(content: bytes, zeros: int = 0) -> bytes:
    """Packed, with 16 MB of zeros after it as often as asked for."""
    deflate = zlib.compressobj(9, wbits=-15)
    start = deflate.compress(content) + deflate.flush(zlib.Z_FULL_FLUSH)
    chunk = deflate.compress(bytes(2**24)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return start + chunk * zeros + b"\x03\x00"


def crowded_zip(members: int, directory_at: int) -> bytes:
    """A zip whose directory, said to lie at this place, names its one member so many times."""
    entry = (
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0x21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
        + b"a"
    )
    index = entry * members
    end = struct.pack("<HHHHIIH", 0, 0, 65_535, 65_535, len(index), directory_at, 0)
    return b"PK\x03\x04" + index + b"PK\x05\x06" + end


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    """With other bytes, as many, wherever the old ones were."""
    assert old in content and len(old) == len(new)
    return content.replace(old, new)


def encrypted(content: bytes) -> bytes:
    """A zip whose directory says of each member that it is encrypted."""
    return changed(content, b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
