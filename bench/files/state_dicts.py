"""Read as data the state dicts that ``torch.save`` writes, in its zip format or in the older one."""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.errors import shown
from bench.files.pickles import Malformed, parse
from bench.files.storages import (
    ORDERED_DICT,
    PARAMETER,
    TENSOR,
    TYPES,
    Reference,
    entries,
    read_legacy,
    rebuild,
)

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
ZIP = b"PK\x03\x04"

_ALLOWED = [(g.module, g.name) for g in (ORDERED_DICT, PARAMETER, TENSOR, *TYPES)]
_MOST_MEMBERS = 20_000
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def read_state_dict(data: memoryview) -> dict[str, Tensor]:
    """Return the tensors by name, as views of ``data``. Raises Malformed for any other content."""
    if data[: len(ZIP)] == ZIP:
        content, storages = _read_zip(data)
    else:
        content, storages = read_legacy(data, _ALLOWED)

    def storage(node: Any) -> tuple[Reference, memoryview]:
        reference = Reference.of(node)
        numbers = storages.get(reference.key)
        if numbers is None or len(numbers) != reference.size:
            raise Malformed(
                f"the storage {shown(reference.key)} is missing or not of {reference.count:,} numbers"
            )
        return reference, numbers

    tensors = {}
    for name, value in entries(content, "its contents").items():
        if not isinstance(name, str):
            raise Malformed("a tensor's name is not text")
        tensors[name] = rebuild(value, name, storage)
    return tensors


def _read_zip(data: memoryview) -> tuple[Any, dict[str, memoryview]]:
    """Return the object in ``data.pkl``, and by key the raw storages beside it."""
    members = _members(data)
    archive = next(
        (
            name.removesuffix("data.pkl")
            for name in members
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ),
        "",
    )
    if not archive or f"{archive}constants.pkl" in members:
        raise Malformed("it is not a zip of one object that torch.save wrote")
    if members.get(f"{archive}byteorder", memoryview(b"little")) != memoryview(b"little"):
        raise Malformed("its numbers are not little-endian")
    stream = members[f"{archive}data.pkl"]
    content, end = parse(stream, _ALLOWED, references=[])
    if end != len(stream):
        raise Malformed(f"{len(stream) - end:,} bytes follow its end")
    return content, {
        name.removeprefix(f"{archive}data/"): m
        for name, m in members.items()
        if name.startswith(f"{archive}data/")
    }


def _members(data: memoryview) -> Mapping[str, memoryview]:
    """Return the members of a zip by name, as views.

    Torch stores them uncompressed; others are refused.
    """
    try:
        count, at = _directory(data)
        if count > _MOST_MEMBERS:
            raise Malformed(f"it is a zip of {count:,} members, at most {_MOST_MEMBERS:,} are read")
        members: dict[str, memoryview] = {}
        left = len(data)
        for _ in range(count):
            name, member, at = _member(data, at, left)
            if name in members:
                raise Malformed(f"it is a zip with two members {shown(name)}")
            members[name] = member
            left -= len(member)
        return members
    except (struct.error, UnicodeDecodeError):
        raise Malformed("its zip directory is damaged, or its end is missing") from None


def _directory(data: memoryview) -> tuple[int, int]:
    """Return the number of members of a zip, and the position of its directory."""
    tail = bytes(data[-(22 + 2**16) :])
    end = tail.rfind(_END)
    if end < 0:
        raise Malformed("it begins as a zip and has no directory at its end; the file is cut")
    count, _size, start = (
        struct.unpack("<H I I", tail[end + 10 : end + 20]) if len(tail) >= end + 20 else (0, 0, 0)
    )
    position = len(data) - len(tail) + end
    if position >= 20 and data[position - 20 : position - 16] == _LOCATOR64:
        (at,) = struct.unpack("<Q", data[position - 12 : position - 4])
        if at + 56 > len(data) or data[at : at + 4] != _END64:
            raise Malformed("its zip directory is damaged")
        count, _size, start = struct.unpack("<Q Q Q", data[at + 32 : at + 56])
    return count, start


def _member(data: memoryview, at: int, left: int) -> tuple[str, memoryview, int]:
    """Read one entry of the directory: name, bytes (at most ``left``), and the next position."""
    if at + 46 > len(data) or bytes(data[at : at + 4]) != b"PK\x01\x02":
        raise Malformed("its zip directory is damaged")
    flags, method, _time, crc, packed, size, n, extra, comment = struct.unpack(
        "<8x H H I I I I H H H", data[at : at + 34]
    )
    (header,) = struct.unpack("<I", data[at + 42 : at + 46])
    name = str(data[at + 46 : at + 46 + n], "utf-8")
    field = data[at + 46 + n : at + 46 + n + extra]
    wide = [
        v
        for v, known in zip(("size", "packed", "header"), (size, packed, header), strict=True)
        if known == 0xFFFFFFFF
    ]
    values = dict(zip(wide, _zip64(field, len(wide)), strict=True))
    size, packed, header = (
        values.get("size", size),
        values.get("packed", packed),
        values.get("header", header),
    )
    if method or flags & 1 or packed != size:
        raise Malformed(f"the zip's member {shown(name)} is packed or encrypted, expected stored")
    if size > left:
        raise Malformed("its zip's members are more than the file")
    if header + 30 > len(data) or data[header : header + 4] != ZIP:
        raise Malformed(f"the zip's member {shown(name)} is not where the directory says")
    begin = header + 30 + sum(struct.unpack("<H H", data[header + 26 : header + 30]))
    member = data[begin : begin + size]
    if len(member) != size or zlib.crc32(member) != crc:
        raise Malformed(f"the zip's member {shown(name)} is damaged")
    return name, member, at + 46 + n + extra + comment


def _zip64(field: memoryview, count: int) -> tuple[int, ...]:
    """Return the first 64-bit numbers of a directory entry's extra field, as many as ``count``."""
    while count and len(field) >= 4:
        kind, length = struct.unpack("<H H", field[:4])
        if kind == 1:
            return struct.unpack(f"<{count}Q", field[4 : 4 + 8 * count])
        field = field[4 + length :]
    if count:
        raise Malformed("its zip directory is damaged")
    return ()
