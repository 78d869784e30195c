"""Pickles made by hand, operation by operation: what no honest program writes."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

MAGIC = 119547037146038801333356


@dataclass(frozen=True)
class Raw:
    """Operations as they are."""

    code: bytes


@dataclass(frozen=True)
class Call:
    """A named function and its arguments; ``then`` are operations on the result."""

    module: str
    name: str
    args: tuple[Any, ...] = ()
    then: bytes = b""
    how: bytes = b"R"


def code(value: Any) -> bytes:
    """The operations that push a value."""
    match value:
        case Raw():
            return value.code
        case Call():
            return name(value.module, value.name) + code(value.args) + value.how + value.then
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            return (
                b"\x8a"
                + bytes([size := value.bit_length() // 8 + 1])
                + value.to_bytes(size, "little", signed=True)
            )
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(code, value)) + b"t"
        case list():
            return b"](" + b"".join(map(code, value)) + b"e"
        case set():
            return b"\x8f"
        case dict():
            return b"}(" + items(value) + b"u"
    raise TypeError(value)


def items(value: Mapping[Any, Any]) -> bytes:
    return b"".join(code(k) + code(v) for k, v in value.items())


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def apply(function: Any, *args: Any) -> Raw:
    """A call of what other operations made."""
    return Raw(code(function) + code(args) + b"R")


def shared(value: Any, index: int = 1) -> tuple[Raw, Raw]:
    """A value that is kept in the memo, and the operation that recalls it."""
    return Raw(code(value) + struct.pack("<cI", b"r", index)), Raw(struct.pack("<cI", b"j", index))


def pickle_of(value: Any, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + code(value) + b"."


# -- the parts of a snapshot, right unless told otherwise ------------------------------------------

FLOATS = Raw(name("torch", "FloatStorage"))
NO_HOOKS = Call("collections", "OrderedDict")


def stream(values: bytes, **changes: Any) -> bytes:
    """What ``torch.save`` writes of one storage of float32: five pickles, a count, and the numbers."""
    count = changes.get("count", len(values) // 4)
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    key = changes.get("key", "94")
    reference = (
        "storage",
        changes.get("kind", FLOATS),
        key,
        changes.get("place", "cpu"),
        count,
        changes.get("view"),
    )
    parts = [changes.get("magic", MAGIC), changes.get("version", 1001), changes.get("system", system)]
    parts += [changes.get("reference", Raw(code(reference) + b"Q")), changes.get("keys", [key])]
    pickles = b"".join(pickle_of(part, 2) for part in parts)
    return pickles + struct.pack("<q", changes.get("count_again", count)) + values


def storage(values: bytes, **changes: Any) -> Call:
    return Call("torch.storage", "_load_from_bytes", (stream(values, **changes),))


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def tensor(
    shape: Any = (2, 3), stride: Any = None, offset: Any = 0, held: Any = None, hooks: Any = NO_HOOKS
) -> Call:
    """Of ones; ``held`` is its storage."""
    count, strides = 1, []
    for extent in reversed(shape if isinstance(shape, tuple) else ()):
        strides.append(count)
        count *= extent
    held = storage(floats(*[1.0] * count)) if held is None else held
    return Call(
        "torch._utils",
        "_rebuild_tensor_v2",
        (held, offset, shape, strides_or(stride, strides), False, hooks),
    )


def strides_or(given: Any, computed: Iterable[int]) -> Any:
    return tuple(computed)[::-1] if given is None else given


def module(
    parameters: Any = None, buffers: Any = None, modules: Any = None, **attributes: Any
) -> dict[str, Any]:
    """The attributes of a module."""
    tables = {"_parameters": parameters, "_buffers": buffers, "_modules": modules}
    return {"training": False} | {k: {} if v is None else v for k, v in tables.items()} | attributes


def record(class_name: Any, state: Any, **fields: Any) -> Call:
    """An object that carries the source text of its class."""
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "",
        "class_name": class_name,
        "state": state,
    } | fields
    return Call(
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
        ({k: v for k, v in meta.items() if v is not Ellipsis},),
    )


KWARGS = {"model_type": "SongUNet", "img_resolution": 8, "img_channels": 1}


def network(
    model: Any = None, kwargs: Any = None, class_name: str = "EDMPrecond", **fields: Any
) -> Call:
    model = record("SongUNet", module({"weight": tensor()})) if model is None else model
    kwargs = KWARGS if kwargs is None else kwargs
    return record(
        class_name, module(modules={"model": model}, _init_args=(), _init_kwargs=kwargs), **fields
    )


def snapshot(**changes: Any) -> bytes:
    return pickle_of({"ema": network(**changes)})


def module_dict(*states: Any) -> Raw:
    return Raw(
        name("torch.nn.modules.container", "ModuleDict")
        + b")\x81"
        + b"".join(code(s) + b"b" for s in states)
    )


def zip_holding(value: Any, protocol: int = 2, **files: bytes) -> bytes:
    """A zip as ``torch.save`` lays it out; ``files`` are its other members."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in (
            {"data.pkl": pickle_of(value, protocol), "version": b"3\n"} | files
        ).items():
            archive.writestr(f"archive/{member}", content)
    return file.getvalue()
