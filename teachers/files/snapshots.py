"""Read the pickles in which EDM, SiD and SiDA publish networks, without running any of their code.

Such a file holds a network as nested records of ``torch_utils.persistence``, with class name,
source text and attributes of every module. EDM's loader executes the source text. Here only names
and tensors are read, and the network is built from the suite's own classes.
"""

import re
import struct
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.files.pickles import Call, Global, Malformed, parse
from bench.files.state_dicts import (
    FEW,
    ORDERED_DICT,
    PARAMETER,
    TENSOR,
    TYPES,
    Reference,
    entries,
    read_legacy,
    rebuild,
)
from bench.plugin import shown

_RECORD = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
_MODULE_DICT = Global("torch.nn.modules.container", "ModuleDict")
_DICTS = (ORDERED_DICT, Global("dnnlib.util", "EasyDict"))
_STORAGE = Global("torch.storage", "_load_from_bytes")
_SCALARS = (Global("numpy._core.multiarray", "scalar"), Global("numpy.core.multiarray", "scalar"))
_DTYPE = Global("numpy", "dtype")
_KNOWN = (_RECORD, _MODULE_DICT, *_DICTS, PARAMETER, TENSOR, _STORAGE, *_SCALARS, _DTYPE)
_ALLOWED = [
    *((g.module, g.name) for g in _KNOWN),
    # By this call protocol 3 makes a set, for which it has no operation; sets are ignored.
    ("builtins", "set"),
]
_STORAGE_TYPES = [(g.module, g.name) for g, dtype in TYPES.items() if dtype == torch.float32]
_RECORD_KEYS = {"type", "version", "module_src", "class_name", "state"}
_VERSION = 6
_DEEPEST, _MOST_MODULES, _MOST_NAMES = 16, 10_000, 200_000
_SUFFIX = "_EncoderDecoder"
"""SiDA's addition to class names; tensors and default output are those of the class without it."""


def read_snapshot(data: memoryview) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the network ``ema`` in a pickle of EDM, SiD or SiDA. Raises Malformed for any other file.

    Returns the constructor arguments of EDMPrecond, with ``model_type``, which are not yet checked,
    and the tensors in float32 by their names in a state dict, in its order, as views of ``data``.
    """
    top, end = parse(data, _ALLOWED)
    if end != len(data):
        raise Malformed(f"{len(data) - end:,} bytes follow its end")
    network = entries(top, "its contents", _DICTS).get("ema")
    walk = _Walk()
    state = walk.module(network, "", 0)
    class_name, model = _class_name(network), entries(state.get("_modules"), "its modules").get("model")
    kwargs = {
        _text(k): _plain(v)
        for k, v in entries(state.get("_init_kwargs"), "its arguments", _DICTS).items()
    }
    if class_name.removesuffix(_SUFFIX) != "EDMPrecond":
        raise Malformed(f"its network is a {shown(class_name)}, expected EDMPrecond")
    if not isinstance(declared := kwargs.get("model_type"), str) or _class_name(model) != declared:
        raise Malformed(
            f"its inner network is a {shown(_class_name(model))}, its arguments say {shown(declared)}"
        )
    return kwargs | {"model_type": declared.removesuffix(_SUFFIX)}, walk.tensors


class _Walk:
    """Collects the tensors of nested module records, each from a storage of its own."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.modules = self.names = 0
        self.used: set[int] = set()

    def module(self, node: Any, prefix: str, depth: int) -> dict[Any, Any]:
        """Collect the tensors of a module and of those inside it; return the module's attributes."""
        self.modules += 1
        if depth > _DEEPEST or self.modules > _MOST_MODULES:
            raise Malformed(
                f"its modules nest deeper than {_DEEPEST} or are more than {_MOST_MODULES:,}"
            )
        state = _state(node)
        for kind in ("_parameters", "_buffers"):
            for own_name, value in self.named(state, kind):
                name = prefix + own_name
                if name in self.tensors:
                    raise Malformed(f"it has two tensors {shown(name)}")
                tensor = rebuild(value, name, self.storage)
                if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes:
                    raise Malformed(f"{shown(name)} is not all of its storage, in order")
                self.tensors[name] = tensor
        for name, child in self.named(state, "_modules"):
            self.module(child, f"{prefix}{name}.", depth + 1)
        return state

    def named(self, state: dict[Any, Any], kind: str) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of ``_parameters``, ``_buffers`` or ``_modules`` of a module.

        Values of None are passed over.
        """
        table = entries(state.get(kind), f"a module's {kind}")
        self.names += len(table)
        if self.names > _MOST_NAMES:
            raise Malformed(f"its modules have more than {_MOST_NAMES:,} names")
        for name, value in table.items():
            if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_]{1,64}", name)):
                raise Malformed(f"{shown(name)} is not the name of a tensor or module")
            if value is not None:
                yield name, value

    def storage(self, node: Any) -> tuple[Reference, memoryview]:
        """Read a storage that stands in the pickle as the bytes of a ``torch.save``."""
        if not (
            isinstance(node, Call)
            and node.function == _STORAGE
            and len(node.args) == 1
            and node.state is None
        ):
            raise Malformed("a tensor has no storage")
        if not isinstance(blob := node.args[0], memoryview):
            raise Malformed("a storage is not bytes")
        if id(blob) in self.used:
            raise Malformed("two tensors share a storage")
        self.used.add(id(blob))
        content, storages = read_legacy(blob, _STORAGE_TYPES, FEW)
        reference = Reference.of(content)
        return reference, storages[reference.key]


def _state(node: Any) -> dict[Any, Any]:
    """Return the attributes of a module: of a persistent record, or of a plain ModuleDict."""
    plain = (
        isinstance(node, Call) and node.function == _MODULE_DICT and node.args == () and not node.items
    )
    state = node.state if plain else _record(node)["state"]
    if not isinstance(state, dict):
        raise Malformed("a module's attributes are not a dict")
    return state


def _class_name(node: Any) -> str:
    return _text(_record(node)["class_name"])


def _record(node: Any) -> dict[Any, Any]:
    if not (
        isinstance(node, Call)
        and node.function == _RECORD
        and len(node.args) == 1
        and node.state is None
        and not node.items
    ):
        raise Malformed("a module is missing where one is expected")
    record = node.args[0]
    if not isinstance(record, dict) or set(record) != _RECORD_KEYS or record["type"] != "class":
        raise Malformed(
            "a module's record has other fields than type, version, module_src, class_name and state"
        )
    if record["version"] != _VERSION:
        raise Malformed(f"its records are of version {shown(record['version'])}, expected {_VERSION}")
    return record


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise Malformed(f"a name is {shown(value)}, expected a short text")
    return value


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a constructor argument: a number, a short text, or a short list of them."""
    match value:
        case None | int() | float():
            return value
        case str():
            return _text(value)
        case list() | tuple() if len(value) <= 64 and depth == 0:
            return [_plain(v, depth + 1) for v in value]
        case Call(
            function=function,
            args=(Call(function=dtype, args=("f8", *_), state=tuple() as state), memoryview() as raw),
        ) if (
            function in _SCALARS
            and dtype == _DTYPE
            and len(state) == 8
            and state[1] == "<"
            and len(raw) == 8
        ):
            return struct.unpack("<d", raw)[0]
    raise Malformed("an argument is neither a number nor a text nor a list of them")
