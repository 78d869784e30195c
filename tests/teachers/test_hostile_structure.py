"""Snapshots that hold no code and are wrong all the same: their records, names, tensors, storages,
arguments and operations.
"""

from __future__ import annotations

import struct

import pytest

from tests.helpers.handmade_pickles import (
    FLOATS,
    KWARGS,
    MAGIC,
    NO_HOOKS,
    Call,
    Raw,
    apply,
    code,
    floats,
    module,
    module_dict,
    name,
    network,
    pickle_of,
    record,
    shared,
    snapshot,
    storage,
    stream,
    tensor,
    zip_holding,
)
from tests.helpers.reader_process import assert_cheap, assert_refused

SIX = floats(*[1.0] * 6)
RARE = "\U000e0001" * 60
"""Characters that need ten others to be shown."""


def net(parameters=None, **tables):
    """A snapshot of a network with these tables of tensors and modules."""
    return snapshot(model=record("SongUNet", module(parameters, **tables)))


def one(weight):
    return net({"weight": weight})


def shaped(shape, stride=None, offset=0, values=SIX):
    return one(tensor(shape, stride, offset, storage(values)))


def held(**changes):
    return one(tensor(held=storage(SIX, **changes)))


def loaded_from(*args):
    return one(tensor(held=Call("torch.storage", "_load_from_bytes", args)))


def argument(value):
    return snapshot(kwargs=KWARGS | {"dropout": value})


def scalar(dtype, value):
    return argument(Call("numpy._core.multiarray", "scalar", (dtype, value)))


def dtype(kind):
    return Call("numpy", "dtype", (kind, False, True))


def deep(depth, empty=b")", wrap=b"\x85"):
    """An empty thing, wrapped again and again."""
    return Raw(empty + wrap * depth)


def doubling(depth=60):
    """A pair of pairs of pairs ...: few bytes, 2^depth leaves."""
    return Raw(b")" + b"".join(struct.pack("<cIcI", b"r", k, b"j", k) + b"\x86" for k in range(depth)))


def modules_deep(depth):
    state = module({"weight": tensor()})
    for _ in range(depth):
        state = module(modules={"a": record("Conv2d", state)})
    return snapshot(model=record("SongUNet", state))


def module_inside_itself():
    first = Raw(b"}r\x01\x00\x00\x00(")
    again = record("Conv2d", Raw(b"j\x01\x00\x00\x00"))
    state = module(modules={"a": again, "b": again})
    return snapshot(
        model=record(
            "SongUNet", Raw(first.code + b"".join(code(k) + code(v) for k, v in state.items()) + b"u")
        )
    )


def many_modules():
    first, again = shared(record("Conv2d", module()))
    return net(modules={f"a{i}": again if i else first for i in range(20_000)})


def crowded_tables():
    """One table of 50,000 names without tensors, in 9,000 modules."""
    first, again = shared({f"a{i}": None for i in range(50_000)})
    return net(modules={f"a{i}": record("Conv2d", module(again if i else first)) for i in range(9_000)})


def in_many_tensors(blob, tensors, shape=(1,)):
    """Tensors each of which loads its storage from the same bytes, which are in the file once."""
    first, again = shared(blob)
    blobs = [Call("torch.storage", "_load_from_bytes", (again if i else first,)) for i in range(tensors)]
    return net({f"a{i}": tensor(shape, held=blob) for i, blob in enumerate(blobs)})


def slow_storages():
    """A storage of 400,000 operations that do nothing, in 300 tensors."""
    return in_many_tensors(stream(floats(1), magic=Raw(b"\x80\x02" * 400_000 + code(MAGIC))), 300)


def slow_storages_of_their_own(**part):
    """12 storages, each with a pickle of 800,000 operations that do nothing."""
    blob = stream(floats(1), **part)
    return net(
        {
            f"a{i}": tensor((1,), held=Call("torch.storage", "_load_from_bytes", (blob,)))
            for i in range(12)
        }
    )


def slow_references():
    reference = Raw(b"\x80\x02" * 800_000 + code(("storage", FLOATS, "94", "cpu", 1, None)) + b"Q")
    return slow_storages_of_their_own(reference=reference)


def slow_keys():
    return slow_storages_of_their_own(keys=Raw(b"\x80\x02" * 800_000 + code(["94"])))


def many_references():
    """Storages that refer to their numbers 100,000 times."""
    again = code(("storage", FLOATS, "94", "cpu", 1, None)) + b"r\x01\x00\x00\x00Q"
    reference = Raw(b"(" + again + b"j\x01\x00\x00\x00Q" * 100_000 + b"t")
    return slow_storages_of_their_own(reference=reference)


def repeated_storages():
    """300 tensors, each of a storage of its own, of the same 16 MB."""
    return in_many_tensors(stream(bytes(2**24)), 300, shape=(2**22,))


def storages_of_text():
    """A storage that begins with 15 MB of text, in 3,000 tensors."""
    return in_many_tensors(stream(floats(1), magic="a" * 15_000_000), 3_000)


def colliding_keys():
    """Integers that have the same hash."""
    pairs = b"".join(code(k * (2**61 - 1)) + b"N" for k in range(1, 200_000))
    return pickle_of({"ema": Raw(b"}(" + pairs + b"u")})


def repeated_text():
    """A list of 64 lists of 64 times one text of 15 MB."""
    first, again = shared("a" * 15_000_000)
    return snapshot(kwargs=KWARGS | {"model_type": [[first] + [again] * 63] + [[again] * 64] * 63})


def awkward_memories():
    """Values kept under numbers that fall together in a table."""
    return pickle_of(
        {"ema": Raw(b"N" + b"".join(struct.pack("<cI", b"r", i << 13) for i in range(2**19 - 100)))}
    )


def cycle_around_bytes():
    cycle = Raw(b"]r\x01\x00\x00\x00(j\x01\x00\x00\x00" + code(b"held") + b"e")
    return pickle_of({"ema": None, "loss_fn": cycle})


def calls_deep(depth):
    """The arguments of a call are a call, whose arguments are a call, ..."""
    return Raw(
        name("collections", "OrderedDict") + b"q\x01" + b"h\x01" * depth + b")" + b"R\x85" * depth + b"R"
    )


TOP = {
    "nothing": b"",
    "a byte": b"\x80",
    "no value": b"\x80\x04.",
    "protocol 0": b"N.",
    "protocol 1": b"\x80\x01N.",
    "protocol 6": b"\x80\x06N.",
    "protocol 255": b"\x80\xffN.",
    "zeros": b"\x80\x04" + bytes(1000),
    "None": pickle_of(None),
    "a list": pickle_of([network()]),
    "no ema": pickle_of({"G_ema": network()}),
    "ema is None": pickle_of({"ema": None}),
    "ema is text": pickle_of({"ema": "a"}),
    "ema is a tensor": pickle_of({"ema": tensor()}),
    "ema is a tuple of it": pickle_of({"ema": (network(),)}),
    "bytes after the end": snapshot() + b"\x00",
    "two snapshots": snapshot() * 2,
    "a mark is left": b"\x80\x04(" + code({"ema": network()}) + b".",
    "two values": b"\x80\x04N" + code({"ema": network()}) + b".",
}

PERSISTENT = "torch_utils.persistence", "_reconstruct_persistent_obj"
MODULE_DICT = "torch.nn.modules.container", "ModuleDict"
RECORDS = {
    "version 5": snapshot(version=5),
    "version is text": snapshot(version="6\n"),
    "version is long": snapshot(version="6" * 10_000),
    "version doubles": snapshot(version=doubling()),
    "version is deep": snapshot(version=deep(100_000)),
    "no version": snapshot(version=...),
    "no source": snapshot(module_src=...),
    "one field more": snapshot(hook=1),
    "type function": snapshot(type="function"),
    "type doubles": snapshot(type=doubling()),
    "class VPPrecond": snapshot(class_name="VPPrecond"),
    "class of control characters": snapshot(class_name="\n\x1b[2J" * 20),
    "class of rare characters": snapshot(class_name=RARE),
    "class is a number": snapshot(class_name=6),
    "class is a list": snapshot(class_name=[]),
    "class doubles": snapshot(class_name=doubling()),
    "inner class is another": snapshot(model=record("DhariwalUNet", module())),
    "inner class is nested": snapshot(model=record([["SongUNet"]], module())),
    "a suffix on one class only": snapshot(model=record("SongUNet_EncoderDecoder", module())),
    "no model": pickle_of({"ema": record("EDMPrecond", module(_init_kwargs=KWARGS))}),
    "state is None": pickle_of({"ema": record("EDMPrecond", None)}),
    "state is a list": pickle_of({"ema": record("EDMPrecond", [])}),
    "state comes by BUILD": pickle_of({"ema": Call(*PERSISTENT, (), code({}) + b"b")}),
    "state comes twice": pickle_of({"ema": Raw(code(network()) + code({"__class__": 1}) + b"b")}),
    "no argument": pickle_of({"ema": Call(*PERSISTENT)}),
    "two arguments": pickle_of({"ema": Call(*PERSISTENT, ({}, {}))}),
    "the function itself": pickle_of({"ema": Raw(name(*PERSISTENT))}),
    "Sequential for ModuleDict": net(
        modules={"enc": Raw(name("torch.nn.modules.container", "Sequential") + b")\x81}b")}
    ),
    "ModuleDict without state": net(modules={"enc": module_dict()}),
    "ModuleDict with two states": net(modules={"enc": module_dict(module(), module())}),
    "ModuleDict with an argument": net(
        modules={"enc": Call(*MODULE_DICT, ({},), code(module()) + b"b", b"\x81")}
    ),
    "ModuleDict itself": net(modules={"enc": Raw(name(*MODULE_DICT))}),
    "parameters are a set": net(set()),
    "parameters are a tuple": net((1,)),
    "a module is a tensor": net(modules={"a": tensor()}),
    "a module twice": net(
        modules=dict(zip("ab", shared(record("Conv2d", module({"weight": tensor()}))), strict=True))
    ),
    "modules 17 deep": modules_deep(17),
    "a module inside itself": module_inside_itself(),
    "20,000 modules": many_modules,
    "crowded tables": crowded_tables,
}

NAMES = {
    "dotted": net({"a.weight": tensor()}),
    "empty": net({"": tensor()}),
    "a path": net({"../../weight": tensor()}),
    "a line break": net({"weight\n": tensor()}),
    "rare characters": net({RARE: tensor()}),
    "Cyrillic": net({"w\u0435ight": tensor()}),
    "a number": net({7: tensor()}),
    "bytes": net(Raw(b"}U\x01a" + code(tensor()) + b"s")),
    "65 characters": net({"a" * 65: tensor()}),
    "a million characters": net({"a" * 10**6: tensor()}),
    "the same for a parameter and a buffer": net({"weight": tensor()}, buffers={"weight": tensor()}),
}

TENSORS = {
    "a number": one(1.0),
    "a list": one([1.0]),
    "without arguments": one(Call("torch._utils", "_rebuild_tensor_v2")),
    "the function itself": one(Raw(name("torch._utils", "_rebuild_tensor_v2"))),
    "a parameter of a parameter": one(
        Call(
            "torch._utils",
            "_rebuild_parameter",
            (Call("torch._utils", "_rebuild_parameter", (tensor(), False, 1)), False, 1),
        )
    ),
    "the same twice": net(dict(zip("ab", shared(tensor()), strict=True))),
    "two of one storage": net(
        dict(zip("ab", [tensor(held=s) for s in shared(storage(SIX))], strict=True))
    ),
    "shape is a list": shaped([2, 3], (3, 1)),
    "shape is None": shaped(None, (3, 1)),
    "shape of floats": shaped((2.0, 3.0), (3, 1)),
    "shape of truth values": shaped((True, True), (True, True), values=floats(1)),
    "shape too large": shaped((2, 4)),
    "shape too small": shaped((2, 2)),
    "shape in terabytes": shaped((2**39,)),
    "shape beyond all": shaped((2**63 - 1,)),
    "shape that overflows": shaped((2**32, 2**32), values=b""),
    "shape that overflows to nothing": shaped((2**39, 2**39, 0), (2**39, 1, 1), values=b""),
    "shape of nothing": shaped((2, 0), values=b""),
    "shape of 9 dimensions": shaped((1,) * 9, values=floats(1)),
    "shape of 100,000 dimensions": shaped((1,) * 10**5, values=floats(1)),
    "shape is negative": shaped((-2, -3), (3, 1)),
    "strides are negative": shaped((2, 3), (-3, -1), 5),
    "strides are 0": shaped((2, 3), (0, 0), values=floats(1)),
    "strides are 0, in terabytes": shaped((2**19, 2**20), (0, 0), values=floats(1)),
    "strides overlap": shaped((2, 3), (1, 1), values=floats(1, 1, 1, 1)),
    "strides are transposed": shaped((2, 3), (1, 2)),
    "strides double": shaped((2, 3), doubling()),
    "offset": shaped((2, 2), offset=2),
    "offset is negative": shaped((2, 3), offset=-1),
    "offset in terabytes": shaped((2, 3), offset=2**40),
    "offset is a list": shaped((2, 3), offset=[[]]),
}

STORAGES = {
    "bytes": one(tensor(held=SIX)),
    "of text": loaded_from("a"),
    "of no bytes": loaded_from(b""),
    "of no argument": loaded_from(),
    "a zip": loaded_from(zip_holding(1)),
    "outside of the file": one(tensor(held=Raw(code(("storage", "0", "cpu", 6)) + b"Q"))),
    "outside of the file, in words": one(tensor(held=Raw(b"P94\n"))),
    "its values are cut": loaded_from(stream(SIX)[:-1]),
    "its values go on": loaded_from(stream(SIX) + b"\0"),
    "its count is cut": loaded_from(stream(b"")[:-3]),
    "in terabytes": held(count=2**40, count_again=6),
    "in terabytes, twice": held(count=2**40),
    "of a negative count": held(count=-6),
    "of a count in words": held(count="6", count_again=6),
    "of a true count": one(tensor((1,), held=storage(floats(1), count=True, count_again=1))),
    "of a doubling count": held(count=doubling(), count_again=6),
    "of two counts": held(count_again=7),
    "of doubles": held(kind=Raw(name("torch", "DoubleStorage"))),
    "of halves": held(kind=Raw(name("torch", "HalfStorage"))),
    "of untyped bytes": held(kind=Raw(name("torch.storage", "UntypedStorage"))),
    "of a kind in words": held(kind="FloatStorage"),
    "big-endian": held(system={"protocol_version": 1001, "little_endian": False}),
    "of unknown endianness": held(system={}),
    "of another magic number": held(magic=1),
    "of another version": held(version=1002),
    "of another key": held(keys=["95"]),
    "of two keys": held(keys=["94", "94"]),
    "its key is a number": held(key=94),
    "its key is a cycle": held(key=Raw(b"]q\x01h\x01a")),
    "its key doubles": held(key=doubling()),
    "its key is deep": held(key=deep(50_000)),
    "a view": held(view=("94", 0, 6)),
    "refers to a module": held(reference=Raw(code(("module", FLOATS, "", "")) + b"Q")),
    "refers to a number": held(reference=Raw(code(1) + b"Q")),
    "is not referred to": held(reference=("storage", FLOATS, "94", "cpu", 6, None)),
    "slow": slow_storages,
    "slow, its reference": slow_references,
    "slow, its keys": slow_keys,
    "of many references": many_references,
    "the same, often": repeated_storages,
    "of text, often": storages_of_text,
}

ARGUMENTS = {
    "none": pickle_of(
        {"ema": record("EDMPrecond", module(modules={"model": record("SongUNet", module())}))}
    ),
    "a list": snapshot(kwargs=[1]),
    "a call": argument(Call("collections", "OrderedDict")),
    "bytes": argument(b"a"),
    "nested": argument([[[[1]]]]),
    "long": argument([1] * 65),
    "doubling": argument(doubling()),
    "deep": argument(deep(100_000)),
    "a scalar of 7 bytes": scalar(dtype("f8"), b"1234567"),
    "a scalar of objects": scalar(dtype("O8"), b"12345678"),
    "a scalar of a kind in words": scalar("f8", b"12345678"),
    "a big-endian scalar": scalar(
        Raw(code(dtype("f8")) + code((3, ">", None, None, None, -1, -1, 0)) + b"b"),
        struct.pack(">d", 0.1),
    ),
    "model_type is a list": snapshot(kwargs=KWARGS | {"model_type": ["SongUNet"]}),
    "model_type is None": snapshot(kwargs=KWARGS | {"model_type": None}),
    "model_type is a list as its class spells it": snapshot(
        model=record("['SongUNet']", module()), kwargs=KWARGS | {"model_type": ["SongUNet"]}
    ),
    "model_type is None as its class spells it": snapshot(
        model=record("None", module()), kwargs=KWARGS | {"model_type": None}
    ),
    "no model_type, as its class spells it": snapshot(
        model=record("None", module()), kwargs={"img_channels": 1}
    ),
    "model_type has a line break": snapshot(kwargs=KWARGS | {"model_type": "SongUNet\n"}),
    "model_type is a repeated text": repeated_text,
    "a name with a line break": snapshot(kwargs=KWARGS | {"drop\nout": b"1"}),
    "a name of rare characters": snapshot(kwargs=KWARGS | {RARE: b"1"}),
}

OPERATIONS = {
    "a name of rare characters": b"\x80\x04" + code(RARE) * 2 + b"\x93.",
    "a name that is a number": b"\x80\x04K\x01K\x01\x93.",
    "a name of 300 characters": b"\x80\x04c" + b"a" * 300 + b"\na\n.",
    "a name that does not end": b"\x80\x04c" + b"a" * 100,
    "an allowed name with a dot": b"\x80\x04"
    + code("torch._utils")
    + code("_rebuild_parameter.__globals__")
    + b"\x93.",
    "an allowed name in upper case": pickle_of({"ema": Raw(name("Collections", "OrderedDict"))}),
    "an allowed name with a space": pickle_of({"ema": Raw(name("collections", "OrderedDict "))}),
    "torch.load": pickle_of({"ema": Call("torch", "load", ("a",))}),
    "numpy.load": pickle_of({"ema": Call("numpy", "load", ("a", None, True))}),
    "torch.jit": pickle_of({"ema": Call("torch.jit", "_load_from_buffer", (b"a",))}),
    "a text that is not UTF-8": b"\x80\x04X\x02\x00\x00\x00\xff\xff.",
    "a text with surrogates": b"\x80\x04X\x03\x00\x00\x00\xed\xa0\x80.",
    "a call of a call": pickle_of({"ema": apply(network(), 1)}),
    "a call of a dict": pickle_of({"ema": apply({}, 1)}),
    "a call with a list": pickle_of({"ema": Raw(name("collections", "OrderedDict") + b"]R")}),
    "BUILD of a name": pickle_of({"ema": Raw(name("collections", "OrderedDict") + b"}b")}),
    "BUILD of a dict": pickle_of({"ema": Raw(b"}}b")}),
    "items of a name": pickle_of({"ema": Raw(name("collections", "OrderedDict") + code("a") + b"Ns")}),
    "items of a tuple": pickle_of({"ema": Raw(b")" + code("a") + b"Ns")}),
    "an odd number of items": pickle_of({"ema": Raw(b"}(" + code("a") + b"u")}),
    "a key that is a list": pickle_of({"ema": Raw(b"}]Ns")}),
    "a key that is a call": pickle_of({"ema": Raw(b"}" + code(NO_HOOKS) + b"Ns")}),
    "a key that is not a number": pickle_of({"ema": Raw(b"}" + code(float("nan")) + b"Ns")}),
    "appending to a tuple": pickle_of({"ema": Raw(b")Na")}),
    "a mark for a value": b"\x80\x04((.",
    "a mark in a tuple": b"\x80\x04N(\x86.",
    "no mark": b"\x80\x04Nt.",
    "keeping a mark": b"\x80\x04(\x94.",
    "recalling nothing": b"\x80\x04h\x05.",
    "recalling the 4-billionth": b"\x80\x04j\xff\xff\xff\xff.",
    "keeping as the 4-billionth": pickle_of({"ema": Raw(b"Nr\xff\xff\xff\xff")}),
    "keeping as a number in words": b"\x80\x04Np99999999999999999999\n.",
    "NEWOBJ_EX": pickle_of({"ema": Raw(name("collections", "OrderedDict") + b")}\x92")}),
    "a bytearray": pickle_of({"ema": Raw(b"\x96" + struct.pack("<Q", 2**40))}),
    "a buffer outside": pickle_of({"ema": Raw(b"\x97")}),
    "a frozen set": pickle_of({"ema": Raw(b"(N\x91")}),
    "an integer in words": b"\x80\x04I" + b"9" * 5000 + b"\n.",
    "an integer of 255 bytes": b"\x80\x04\x8a\xff" + b"\x7f" * 255 + b".",
    "an integer of 2 GB": b"\x80\x04\x8b\xff\xff\xff\x7f.",
    "bytes in terabytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**42) + b".",
    "bytes beyond all": b"\x80\x04\x8e" + b"\xff" * 8 + b".",
    "a text in terabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**42) + b".",
    "a text of 4 GB": b"\x80\x04X\xff\xff\xff\xff.",
    "a frame beyond all": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "a frame that is cut": b"\x80\x04\x95\xff",
}

BOMBS = {
    "tuples 500,000 deep": lambda: pickle_of({"ema": deep(500_000)}),
    "lists 300,000 deep": lambda: pickle_of({"ema": Raw(b"]" * 300_001 + b"a" * 300_000)}),
    "dicts 200,000 deep": lambda: pickle_of({"ema": Raw(b"}" + b"K\x00}" * 200_000 + b"s" * 200_000)}),
    "calls 200,000 deep": lambda: pickle_of({"ema": calls_deep(200_000)}),
    "pairs of pairs": lambda: pickle_of({"ema": doubling(200)}),
    "marks without end": lambda: b"\x80\x04" + b"(" * 2_000_000,
    "values without end": lambda: b"\x80\x04(" + b"N" * 5_000_000 + b"t.",
    "sets without end": lambda: b"\x80\x04(" + b"\x8f" * 5_000_000 + b"t.",
    "memories without end": lambda: b"\x80\x04N" + b"\x94" * 5_000_000 + b".",
    "nothing without end": lambda: b"\x80\x04" * 3_000_000 + b".",
    "texts without end": lambda: b"\x80\x04(" + code("a" * 2**20) * 40 + b"t.",
    "wide texts": lambda: b"\x80\x04" + code("\U000e0001" + "a" * (2**24 - 10)) + b".",
    "colliding keys": colliding_keys,
    "a cycle around bytes": cycle_around_bytes,
    "awkward memories": awkward_memories,
}

GROUPS = {
    "top": TOP,
    "record": RECORDS,
    "name": NAMES,
    "tensor": TENSORS,
    "storage": STORAGES,
    "argument": ARGUMENTS,
    "operation": OPERATIONS,
    "bomb": BOMBS,
}
CASES = [
    pytest.param(content, id=f"{kind}: {title}")
    for kind, group in GROUPS.items()
    for title, content in group.items()
]


@pytest.mark.parametrize("content", CASES)
def test_what_is_not_a_network_is_refused(reader, tmp_path, content):
    path = tmp_path / "network.pkl"
    path.write_bytes(content() if callable(content) else content)
    assert_refused(reader, path)


def test_the_handmade_snapshot_is_right_where_it_is_not_made_wrong(reader, tmp_path):
    """Or the refusals would say nothing."""
    path = tmp_path / "network.pkl"
    path.write_bytes(snapshot())
    outcome = reader.read(path)
    assert outcome.tensors == {"model.weight": ["torch.float32", [2, 3], True]}
    assert_cheap(outcome)
