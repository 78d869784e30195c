"""Reads the pickles in which EDM, SiD and SiDA publish their networks, as data: no line of what they contain is run.

Such a file holds a network as nested records of ``torch_utils.persistence``: class name, source text and attributes of every
module. The stock loader executes the source text; here only names and tensors are taken, and the network is built from the
suite's own classes.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.plugin import UsageError
from teachers.pickles import Call, Global, Malformed, Persistent, parse

_RECORD = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
_MODULE_DICT = Global("torch.nn.modules.container", "ModuleDict")
_DICTS = (Global("collections", "OrderedDict"), Global("dnnlib.util", "EasyDict"))
_PARAMETER = Global("torch._utils", "_rebuild_parameter")
_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
_STORAGE = Global("torch.storage", "_load_from_bytes")
_SCALARS = (Global("numpy._core.multiarray", "scalar"), Global("numpy.core.multiarray", "scalar"))
_DTYPE = Global("numpy", "dtype")
_FLOATS = Global("torch", "FloatStorage")

_ALLOWED = [(g.module, g.name) for g in (_RECORD, _MODULE_DICT, *_DICTS, _PARAMETER, _TENSOR, _STORAGE, *_SCALARS, _DTYPE)]
_RECORD_KEYS = {"type", "version", "module_src", "class_name", "state"}
_MAGIC = 0x1950A86A20F9469CFC6C
_DEEPEST = 16
_MOST_MODULES = 10_000
_MOST_BYTES = 2**32
"""Of all tensors; the largest published network has 1.2e9."""
_SUFFIX = "_EncoderDecoder"
"""What SiDA adds to the names of classes whose tensors and default output are those without it."""


@dataclass(frozen=True)
class Snapshot:
    """A published network as data."""

    kwargs: dict[str, Any]
    """What EDMPrecond was constructed with, ``model_type`` among it; not yet checked for meaning."""
    tensors: dict[str, Tensor]
    """By the names of a state dict, in its order; float32."""


def read_snapshot(path: Path) -> Snapshot:
    """The network under ``ema`` in a pickle of EDM, SiD or SiDA. Raises UsageError for any other file."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            raise UsageError(f"the file {str(path)!r} is empty; fetch it again.")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # unmapped with the last view of it
    try:
        return _snapshot(data)
    except Malformed as error:
        raise UsageError(
            f"the file {str(path)!r} is not a network that EDM, SiD or SiDA published: {error}; nothing in it was run, "
            "fetch it again from its authors."
        ) from None


def _snapshot(data: memoryview) -> Snapshot:
    top, end = parse(data, _ALLOWED)
    if end != len(data):
        raise Malformed(f"{len(data) - end:,} bytes follow its end")
    network = _entries(top, "the file's content").get("ema")
    reader = _Reader(len(data))
    state = reader.module(network, "", 0)
    class_name, model = _class_name(network), _entries(state.get("_modules"), "its modules").get("model")
    kwargs = {str(k): _plain(v, str(k)) for k, v in _entries(state.get("_init_kwargs"), "its arguments").items()}
    if class_name.removesuffix(_SUFFIX) != "EDMPrecond":
        raise Malformed(f"its network is a {class_name[:60]!r}, expected EDMPrecond")
    inner, declared = _class_name(model), str(kwargs.get("model_type"))
    if inner != declared:
        raise Malformed(f"its inner network is a {inner[:60]!r}, its arguments say {declared[:60]!r}")
    kwargs["model_type"] = kwargs["model_type"].removesuffix(_SUFFIX)
    return Snapshot(kwargs, reader.tensors)


class _Reader:
    """Walks the module records and collects their tensors; each storage serves one tensor, so that memory is bounded."""

    def __init__(self, file_size: int) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.modules = 0
        self.left = min(file_size, _MOST_BYTES)
        self.used: set[int] = set()

    def module(self, node: Any, prefix: str, depth: int) -> dict[Any, Any]:
        """Take the tensors of one module and of those inside it; return its attributes."""
        self.modules += 1
        if depth > _DEEPEST or self.modules > _MOST_MODULES:
            raise Malformed(f"its modules nest deeper than {_DEEPEST} or are more than {_MOST_MODULES:,}")
        state = _state(node)
        for kind in ("_parameters", "_buffers"):
            for name, value in _named(state, kind):
                if value is not None:
                    self.tensors[prefix + name] = self.tensor(value, prefix + name)
        for name, child in _named(state, "_modules"):
            if child is not None:
                self.module(child, f"{prefix}{name}.", depth + 1)
        return state

    def tensor(self, node: Any, name: str) -> Tensor:
        """A copy of one float32 tensor, contiguous from the start of a storage of its own."""
        if isinstance(node, Call) and node.function == _PARAMETER and len(node.args) == 3:
            node = node.args[0]
        if not (isinstance(node, Call) and node.function == _TENSOR and len(node.args) in (6, 7)):
            raise Malformed(f"{name!r} is not a tensor")
        storage, offset, size, stride = node.args[:4]
        if not (isinstance(storage, Call) and storage.function == _STORAGE and len(storage.args) == 1):
            raise Malformed(f"{name!r} has no storage")
        if id(storage) in self.used:
            raise Malformed(f"{name!r} shares its storage with another tensor")
        self.used.add(id(storage))
        shape = _whole_numbers(size, name)
        count = _product(shape)
        if offset != 0 or _whole_numbers(stride, name) != _contiguous(shape):
            raise Malformed(f"{name!r} is not contiguous from the start of its storage")
        if count * 4 > self.left:
            raise Malformed(f"{name!r} declares {count:,} numbers, more than the file holds")
        self.left -= count * 4
        values = _floats(storage.args[0], name)
        if len(values) != 4 * count:
            raise Malformed(f"{name!r} of shape {shape} needs {count:,} numbers, its storage holds {len(values) // 4:,}")
        return torch.frombuffer(bytearray(values), dtype=torch.float32).reshape(shape) if count else torch.empty(shape)


def _floats(stream: Any, name: str) -> memoryview:
    """The raw numbers in a stream that ``torch.save`` wrote of one storage: five small pickles, a count, and the numbers."""
    if not isinstance(stream, memoryview):
        raise Malformed(f"the storage of {name!r} is not bytes")
    allowed, at = [(_FLOATS.module, _FLOATS.name)], 0
    parts = []
    for _ in range(5):
        part, at = parse(stream, allowed, at, persistent=True)
        parts.append(part)
    magic, version, system, reference, keys = parts
    if magic != _MAGIC or version != 1001 or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Malformed(f"the storage of {name!r} is not a little-endian stream of torch.save")
    if not (isinstance(reference, Persistent) and isinstance(reference.id, tuple) and len(reference.id) == 6):
        raise Malformed(f"the storage of {name!r} refers to something else than a storage")
    kind, type_, key, _location, count, view = reference.id
    if kind != "storage" or type_ != _FLOATS or view is not None or keys != [key]:
        raise Malformed(f"the storage of {name!r} is not one storage of float32")
    if len(stream) - at < 8 or struct.unpack("<q", stream[at : at + 8])[0] != count:
        raise Malformed(f"the storage of {name!r} declares two different lengths")
    values = stream[at + 8 :]
    if type(count) is not int or len(values) != 4 * count:
        raise Malformed(f"the storage of {name!r} declares {str(count)[:30]} numbers and holds {len(values):,} bytes")
    return values


def _state(node: Any) -> dict[Any, Any]:
    """The attributes of a module: of a persistent record, or of a plain ModuleDict."""
    if isinstance(node, Call) and node.function == _MODULE_DICT and node.args == ():
        return _entries(node.state, "a ModuleDict's attributes")
    return _entries(_record(node)["state"], "a module's attributes")


def _class_name(node: Any) -> str:
    name = _record(node)["class_name"]
    if not isinstance(name, str):
        raise Malformed("a class has no name")
    return name


def _record(node: Any) -> dict[Any, Any]:
    plain = isinstance(node, Call) and node.function == _RECORD and node.state is None and not node.items
    if not plain or len(node.args) != 1:
        raise Malformed("a module is missing where one is expected")
    record = node.args[0]
    if not isinstance(record, dict) or set(record) != _RECORD_KEYS or record["type"] != "class":
        raise Malformed("a module's record has other fields than type, version, module_src, class_name and state")
    if record["version"] != 6:
        raise Malformed(f"its records are of version {str(record['version'])[:20]}, expected 6")
    return record


def _entries(node: Any, what: str) -> dict[Any, Any]:
    """A dict, an OrderedDict or an EasyDict."""
    if isinstance(node, Call) and node.function in _DICTS and node.args == () and node.state is None:
        return node.items
    if isinstance(node, dict):
        return node
    raise Malformed(f"{what} are not a dict")


def _named(state: dict[Any, Any], kind: str) -> Iterator[tuple[str, Any]]:
    for name, value in _entries(state.get(kind), f"a module's {kind}").items():
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_]{1,64}", name)):
            raise Malformed(f"{str(name)[:60]!r} is not the name of a tensor or module")
        yield name, value


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """A number, text, or short list of them, as construction takes."""
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, list | tuple) and len(value) <= 64 and depth < 2:
        return [_plain(v, name, depth + 1) for v in value]
    if isinstance(value, Call) and value.function in _SCALARS and len(value.args) == 2:
        dtype, raw = value.args
        is_double = isinstance(dtype, Call) and dtype.function == _DTYPE and dtype.args[:1] == ("f8",)
        if is_double and isinstance(raw, memoryview) and len(raw) == 8:
            return struct.unpack("<d", raw)[0]
    raise Malformed(f"its argument {name[:60]!r} is neither a number nor text nor a list of them")


def _whole_numbers(values: Any, name: str) -> tuple[int, ...]:
    if not (isinstance(values, tuple) and len(values) <= 8 and all(type(v) is int and 0 <= v < 2**40 for v in values)):
        raise Malformed(f"{name!r} has a shape or strides that are not whole numbers")
    return values


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))
