"""Rebuild the tensors in torch's pickles: strided views of storages of raw numbers.

The tensors are views of the file's own bytes, so that nothing is copied before names and shapes
have been compared with those of a network.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.errors import shown
from bench.files.pickles import MAX_OPERATIONS, Call, Global, Malformed, Persistent, parse

ORDERED_DICT = Global("collections", "OrderedDict")
PARAMETER = Global("torch._utils", "_rebuild_parameter")
TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
TYPES = {
    Global("torch", "FloatStorage"): torch.float32,
    Global("torch", "DoubleStorage"): torch.float64,
    Global("torch", "HalfStorage"): torch.float16,
    Global("torch", "BFloat16Storage"): torch.bfloat16,
    Global("torch", "LongStorage"): torch.int64,
}
"""Storage classes that a state dict may mention, and their number types."""
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
FEW = 64
"""Most operations of a pickle that holds a number or a short dict."""


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
    if isinstance(node, Call) and node.function in dicts and node.args == ():
        return node.items
    if isinstance(node, dict):
        return node
    raise Malformed(f"{what} are not a dict")


def _whole(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= 8
        and all(type(v) is int and 0 <= v < 2**40 for v in values)
    )
