"""Read as data the state dicts that ``torch.save`` writes, in its zip format or in the older one.

The tensors are strided views of the file's own bytes, so that nothing is copied before names and
shapes have been compared with those of a network.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.errors import shown
from bench.files.pickles import MAX_OPERATIONS, Call, Global, Malformed, Persistent, parse

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
ZIP = b"PK\x03\x04"

ORDERED_DICT = Global("collections", "OrderedDict")
PARAMETER = Global("torch._utils", "_rebuild_parameter")
TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
TYPES = {
    Global("torch", "FloatStorage"): torch.float32,
    Global("torch", "DoubleStorage"): torch.float64,
    Global("torch", "HalfStorage"): torch.float16,
    Global("torch", "BFloat16Storage"): torch.bfloat16,
    Global("torch", "LongStorage"): torch.int64,
    Global("torch", "IntStorage"): torch.int32,
    Global("torch", "ByteStorage"): torch.uint8,
    Global("torch", "BoolStorage"): torch.bool,
}
"""Storage classes that a state dict may mention, and their number types."""
WRAPPERS = ("ema", "model", "state_dict")
"""Names under which training scripts save a network's tensors among other things."""
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
FEW = 64
"""Most operations of a pickle that holds a number or a short dict."""
_ALLOWED = [(g.module, g.name) for g in (ORDERED_DICT, PARAMETER, TENSOR, *TYPES)]
_MOST_MEMBERS = 20_000
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


@dataclass(frozen=True)
class Reference:
    """A pickle's reference to a storage outside of it: key, number type, and count of numbers."""

    key: str
    dtype: torch.dtype
    count: int

    @classmethod
    def of(cls, node: Any) -> Reference:
        """Read a persistent reference.

        Raises Malformed for anything but a whole storage of a known type.
        """
        id_ = node.id if isinstance(node, Persistent) else None
        if not (
            isinstance(id_, tuple)
            and len(id_) in (5, 6)
            and id_[0] == "storage"
            and id_[5:] in ((), (None,))
        ):
            raise Malformed("it refers to something else than a storage")
        _, type_, key, _location, count = id_[:5]
        if not (
            isinstance(type_, Global) and type_ in TYPES and isinstance(key, str) and len(key) <= 64
        ):
            raise Malformed("it refers to a storage of an unknown type or key")
        if type(count) is not int or not 0 <= count < 2**40:
            raise Malformed(f"a storage declares {shown(count)} numbers")
        return cls(key, TYPES[type_], count)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.count * self.dtype.itemsize


class StateDict(dict[str, Tensor]):
    """Tensors by name, and the one of ``WRAPPERS`` that they were found under, if they were."""

    def __init__(self, tensors: Mapping[str, Tensor], wrapper: str = "") -> None:
        super().__init__(tensors)
        self.wrapper = wrapper


def read_state_dict(data: memoryview) -> StateDict:
    """Return the tensors by name, as views of ``data``: of a state dict, or of the one that a training
    script has put under ``WRAPPERS`` beside its step and its optimizer.

    Raises Malformed for any other content, and for several networks, of which one may be meant.
    """
    content, storage = _open(data)
    named = entries(content, "its contents")
    wrapped = [name for name in WRAPPERS if _is_dict(named.get(name))]
    if len(wrapped) > 1:
        raise Malformed(
            f"it holds several networks, {' and '.join(wrapped)}; save the one you mean alone"
        )
    if wrapped:
        named = entries(named[wrapped[0]], f"the contents of {wrapped[0]!r}")
    tensors = {}
    for name, value in named.items():
        if not isinstance(name, str):
            raise Malformed("a tensor's name is not text")
        tensors[name] = rebuild(value, name, storage)
    return StateDict(tensors, wrapped[0] if wrapped else "")


def read_tensor(data: memoryview) -> Tensor:
    """Return the one tensor in a file of ``torch.save``, as a view of ``data``. Raises Malformed for any
    other content.
    """
    content, storage = _open(data)
    return rebuild(content, "its contents", storage)


def _open(data: memoryview) -> tuple[Any, Callable[[Any], tuple[Reference, memoryview]]]:
    """Return what was saved, and the function that finds a tensor's storage."""
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

    return content, storage


def read_legacy(
    data: memoryview, allowed: Collection[tuple[str, str]], operations: int = MAX_OPERATIONS
) -> tuple[Any, dict[str, memoryview]]:
    """Read a file in the format before zip of ``torch.save``: an object, and its storages by key.

    The file has five pickles in a row (a magic number, a version, facts about the system, the
    object, the keys of its storages), then for each key a count and the numbers. Raises Malformed
    for anything else.
    """
    at, header = 0, []
    for _ in range(3):
        part, at = parse(data, (), at, operations=FEW)
        header.append(part)
    magic, version, system = header
    if (
        magic != _MAGIC
        or version != _VERSION
        or not isinstance(system, dict)
        or system.get("little_endian") is not True
    ):
        raise Malformed("it is not a little-endian stream of torch.save")
    references: list[Persistent] = []
    content, at = parse(data, allowed, at, references=references, operations=operations)
    known = {r.key: r for r in map(Reference.of, references)}
    keys, at = parse(data, (), at, operations=FEW + 4 * len(known))
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(known)
    ):
        raise Malformed("its storages are not those that it refers to")
    storages = {}
    for key in keys:
        end = at + 8 + known[key].size
        if end > len(data) or struct.unpack("<q", data[at : at + 8])[0] != known[key].count:
            raise Malformed(
                f"the storage {shown(key)} declares {known[key].count:,} numbers and does not hold them"
            )
        storages[key], at = data[at + 8 : end], end
    if at != len(data):
        raise Malformed(f"{len(data) - at:,} bytes follow its end")
    return content, storages


def rebuild(node: Any, name: str, storage: Callable[[Any], tuple[Reference, memoryview]]) -> Tensor:
    """Return as a view the tensor ``name`` that the call ``node`` would rebuild.

    ``storage`` looks up the call's first argument. Raises Malformed unless the tensor covers a part
    of its storage without gaps or overlaps, in any order of dimensions.
    """
    if isinstance(node, Call) and node.function == PARAMETER and len(node.args) == 3:
        node = node.args[0]
    if not (isinstance(node, Call) and node.function == TENSOR and len(node.args) in (6, 7)):
        raise Malformed(f"{shown(name)} is not a tensor")
    storage_id, offset, size, stride = node.args[:4]
    if not (_whole(size) and _whole(stride) and _whole((offset,)) and len(size) == len(stride)):
        raise Malformed(f"{shown(name)} has a shape, strides or an offset that are not whole numbers")
    count = 1
    for step, extent in sorted(zip(stride, size, strict=True)):
        if extent == 0 or (extent > 1 and step != count):
            raise Malformed(f"{shown(name)} is empty, has gaps, or overlaps itself")
        count *= extent
    reference, numbers = storage(storage_id)
    if offset + count > reference.count:
        raise Malformed(f"{shown(name)} reaches beyond its storage of {reference.count:,} numbers")
    return torch.frombuffer(numbers, dtype=reference.dtype).as_strided(size, stride, offset)


def entries(node: Any, what: str, dicts: Collection[Global] = (ORDERED_DICT,)) -> Mapping[Any, Any]:
    """Return the items of a dict, or of a call that would make one.

    Raises Malformed for another node.
    """
    if not _is_dict(node, dicts):
        raise Malformed(f"{what} are not a dict")
    items: Mapping[Any, Any] = node if isinstance(node, dict) else node.items
    return items


def _is_dict(node: Any, dicts: Collection[Global] = (ORDERED_DICT,)) -> bool:
    made = isinstance(node, Call) and node.function in dicts and node.args == ()
    return made or isinstance(node, dict)


def _whole(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= 8
        and all(type(v) is int and 0 <= v < 2**40 for v in values)
    )


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
    flags, method, crc, packed, size, n, extra, comment, header = struct.unpack(
        "<8x H H 4x I I I H H H 8x I", data[at : at + 46]
    )
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
