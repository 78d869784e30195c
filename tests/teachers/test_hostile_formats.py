"""Hostile files of torch and of safetensors, zips that lead elsewhere or explode, and what is not a
file at all.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import warnings
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.errors import UsageError
from teachers.files.checkpoints import load_network, read_checkpoint
from teachers.networks.config import NetworkConfig
from tests.helpers.handmade_pickles import (
    MAGIC,
    NO_HOOKS,
    Call,
    Raw,
    code,
    floats,
    module,
    name,
    pickle_of,
    record,
    snapshot,
    stream,
    tensor,
    zip_holding,
)  # fmt: skip
from tests.helpers.handmade_zips import changed, crowded_zip, deflated, encrypted, zip_by_hand
from tests.helpers.places import (
    a_dangling_link,
    a_folder,
    a_loop,
    a_pipe,
    an_empty_device,
    an_endless_device,
    nothing,
)
from tests.helpers.reader_process import assert_refused, assert_sentence
from tests.helpers.snapshot_writer import write_snapshot
from tests.helpers.tiny_network import TINY, tiny

BIAS = "model.map_layer0.bias"
ONES = floats(1, 1, 1, 1)

# -- torch -----------------------------------------------------------------------------------------


def saved(content):
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()


def parameter(**attributes):
    made = nn.Parameter(torch.ones(4))
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def with_bias(value):
    return lambda: saved(tiny(**{BIAS: value()}))


def bomb(member, small):
    """A zip in which one member is 3 GB of zeros, deflated to 3 MB; ``small`` are the others."""
    members = [
        (f"archive/{title}", zipfile.ZIP_STORED, part, len(part), zlib.crc32(part))
        for title, part in small.items()
    ]
    return zip_by_hand(
        *members, (f"archive/{member}", zipfile.ZIP_DEFLATED, deflated(b"", zeros=192), 192 * 2**24, 0)
    )


def named(content, old, new):
    """A zip with another name for a member, of the same length."""
    return changed(content, old.encode(), new.encode())


def zip_tensor(kind="FloatStorage", count=4, shape=(4,), stride=(1,), offset=0, key="0", data=ONES):
    """A zip of one tensor, right unless told otherwise."""
    held = Raw(code(("storage", Raw(name("torch", kind)), key, "cpu", count)) + b"Q")
    made = Call("torch._utils", "_rebuild_tensor_v2", (held, offset, shape, stride, False, NO_HOOKS))
    return zip_holding({BIAS: made}, **{"data/0": data, "byteorder": b"little"})


def with_attributes(**attributes):
    """A state dict that is told to be otherwise."""
    return zip_holding(Call("collections", "OrderedDict", (), code(attributes) + b"b"))


def overlapping():
    """A zip whose directory names one member of 32 MB 15,000 times."""
    content = bytes(2**25)
    fields = struct.pack("<HHHHHIII", 20, 0, 0, 0, 0x21, zlib.crc32(content), len(content), len(content))
    files = b"PK\x03\x04" + fields + struct.pack("<HH", 9, 0) + b"archive/a" + content
    names = [b"archive/data.pkl"] + [b"archive/data/%d" % i for i in range(15_000)]
    index = b"".join(
        b"PK\x01\x02\x14\x00" + fields + struct.pack("<HHHHHII", len(n), 0, 0, 0, 0, 0, 0) + n
        for n in names
    )
    return (
        files
        + index
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(index), len(files), 0)
    )


def tied(tensors=9_000, numbers=2**22):
    """Many tensors of one number in one storage of 16 MB."""
    held = Raw(code(("storage", Raw(name("torch", "FloatStorage")), "0", "cpu", numbers)) + b"Q")
    each = Call("torch._utils", "_rebuild_tensor_v2", (held, 0, (1,), (1,), False, NO_HOOKS))
    return zip_holding(
        {f"a{i}": each for i in range(tensors)}, **{"data/0": bytes(4 * numbers), "byteorder": b"little"}
    )


def large_tensor():
    count = 3 * 2**28
    held = Raw(code(("storage", Raw(name("torch", "FloatStorage")), "0", "cpu", count)) + b"Q")
    return Call("torch._utils", "_rebuild_tensor_v2", (held, 0, (count,), (1,), False, NO_HOOKS))


def symbolic_link():
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_of({}, 2))
        link = zipfile.ZipInfo("archive/version")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def colliding():
    pairs = b"".join(code(k * (2**61 - 1)) + b"N" for k in range(1, 100_000))
    return Raw(b"}(" + pairs + b"u")


TORCH = {
    "nothing but a beginning": lambda: b"PK\x03\x04",
    "an empty zip": lambda: zip_holding({})[:0] + b"PK\x05\x06" + bytes(18),
    "a zip of something else": lambda: changed(zip_holding({}), b"data.pkl", b"data.txt"),
    "an end in the middle": lambda: saved(tiny())[:-500],
    "a state dict in a dict in a dict": lambda: saved({"model": {"model": tiny()}}),
    "a state dict under another name": lambda: saved({"mine": tiny()}),
    "a list": lambda: saved([torch.ones(2)]),
    "a number": lambda: saved(1),
    "numbers for names": lambda: saved({1: torch.ones(2)}),
    "a module": lambda: saved(nn.Linear(2, 2)),
    "half numbers, half tensors": lambda: saved(tiny(step=1)),
    "items that are a number": lambda: with_attributes(items=1),
    "everything is a number": lambda: with_attributes(items=1, keys=1, values=1, get=1, pop=1, copy=1),
    "a dict that is of another class": lambda: with_attributes(__class__=1, __dict__=1),
    "a parameter whose isfinite is a number": with_bias(lambda: parameter(isfinite=1)),
    "no numbers at all": with_bias(lambda: torch.ones(4, device="meta")),
    "sparse": with_bias(lambda: torch.ones(4).to_sparse()),
    "nested": with_bias(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(2)])),
    "quantized": with_bias(lambda: torch.quantize_per_tensor(torch.ones(4), 1.0, 0, torch.qint8)),
    "complex": with_bias(lambda: torch.ones(4, dtype=torch.complex64)),
    "truth values": with_bias(lambda: torch.ones(4, dtype=torch.bool)),
    "8-bit floats": with_bias(lambda: torch.ones(4).to(torch.float8_e4m3fn)),
    "one number for all": lambda: zip_tensor(
        count=1, shape=(2**20, 2**20), stride=(0, 0), data=floats(1)
    ),
    "a shape in terabytes": lambda: zip_tensor(shape=(2**40,)),
    "a shape that overflows": lambda: zip_tensor(shape=(2**62, 2**62, 2**62)),
    "a negative shape": lambda: zip_tensor(shape=(-4,)),
    "negative strides": lambda: zip_tensor(stride=(-1,), offset=3),
    "an offset outside": lambda: zip_tensor(offset=1),
    "a negative offset": lambda: zip_tensor(offset=-1),
    "a storage in terabytes": lambda: zip_tensor(count=2**42),
    "a storage of a negative count": lambda: zip_tensor(count=-4),
    "a storage beyond all": lambda: zip_tensor(count=2**80),
    "a storage that is cut": lambda: zip_tensor(data=floats(1)),
    "a storage of no bytes": lambda: zip_tensor(data=b""),
    "a storage that is missing": lambda: zip_tensor(key="1"),
    "a storage elsewhere": lambda: zip_tensor(key="../../../../etc/passwd"),
    "a storage at the root": lambda: zip_tensor(key="/etc/passwd"),
    "a storage of an unknown kind": lambda: zip_tensor(kind="ByteTensor"),
    "a member elsewhere": lambda: named(saved(tiny()), "archive/data/1", "../../../data1"),
    "two members of one name": lambda: named(saved(tiny()), "archive/data/1", "archive/data/0"),
    "a symbolic link": symbolic_link,
    "a storage of 3 GB that is deflated": lambda: bomb(
        "data/0", {"data.pkl": pickle_of({"a": large_tensor()}, 2), "version": b"3\n"}
    ),
    "a pickle of 3 GB that is deflated": lambda: bomb("data.pkl", {"version": b"3\n"}),
    "a byte order of 3 GB that is deflated": lambda: bomb(
        "byteorder", {"data.pkl": pickle_of({}, 2), "version": b"3\n"}
    ),
    "a zip of 700,000 members": lambda: crowded_zip(700_000, directory_at=0),
    "9,000 tensors in one large storage": tied,
    "a zip of 15,000 members in one place": overlapping,
    "an encrypted zip": lambda: encrypted(zip_holding({})),
    "TorchScript": lambda: zip_holding({}, **{"constants.pkl": pickle_of((), 2)}),
    "an unknown byte order": lambda: zip_holding({}, byteorder=b"middle"),
    "an unknown version": lambda: changed(zip_holding({}), b"3\n", b"99"),
    "colliding keys": lambda: zip_holding(colliding()),
    "nesting": lambda: zip_holding(Raw(b")" + b"\x85" * 200_000)),
    "a long operation": lambda: zip_holding(Raw(b"(" + b"N" * 20_000_000 + b"t")),
    "a text in terabytes": lambda: zip_holding(Raw(b"X\xff\xff\xff\xff")),
    "a long integer": lambda: zip_holding({"a": Raw(b"\x8a\xff" + b"\x7f" * 255)}),
    "a stack that is empty": lambda: zip_holding(Raw(b"t")),
    "a reference to a number": lambda: zip_holding({"a": Raw(b"K\x01Q")}),
    "a reference to a short tuple": lambda: zip_holding({"a": Raw(code(("storage",)) + b"Q")}),
    "a tensor of nothing": lambda: zip_holding({"a": Call("torch._utils", "_rebuild_tensor_v2")}),
    "a tensor of numbers": lambda: zip_holding(
        {"a": Call("torch._utils", "_rebuild_tensor_v2", (1, 1, 1, 1, 1, 1))}
    ),
    "a name of a function": lambda: zip_holding({"a": Raw(name("torch._utils", "_rebuild_tensor_v2"))}),
    "legacy: nothing more": lambda: pickle_of(MAGIC, 2),
    "legacy: another version": lambda: stream(b"", version=7),
    "legacy: no keys": lambda: stream(floats(1), reference={"a": 1}, keys=1),
    "legacy: colliding keys": lambda: stream(b"", reference=colliding(), keys=[]),
    "legacy: a storage in terabytes": lambda: stream(floats(1), count=2**42),
    "legacy: a storage of a negative count": lambda: stream(floats(1), count=-1),
    "legacy: a storage that is a view": lambda: stream(floats(1), view=("94", 0, 2**40)),
    "legacy: nesting": lambda: stream(b"", reference=Raw(b")" + b"\x85" * 200_000), keys=[]),
    "legacy: nothing, at length": lambda: (
        pickle_of(MAGIC, 2) + (b"\x80\x02" * 999_990 + code(1001) + b".") * 4
    ),
    "legacy: the rest, at length": lambda: (
        pickle_of(MAGIC, 2) + pickle_of(1001, 2) + (b"\x80\x02" * 999_990 + b"}.") * 3
    ),
    "a tar": lambda: b"storages" + bytes(92) + b"0000644\x00" * 3 + bytes(388),
}


@pytest.mark.parametrize("title", TORCH)
def test_hostile_files_of_torch_are_refused(reader, tmp_path, title):
    path = tmp_path / "network.pt"
    with warnings.catch_warnings(action="ignore"):  # torch's, of what it saves
        path.write_bytes(TORCH[title]())
    assert_refused(reader, path, network=TINY)


# -- safetensors -----------------------------------------------------------------------------------


def tensors_file(header, values=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + values


def entry(shape=(4,), span=(0, 16), kind="F32"):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(span)}


NOTHING = json.dumps(entry((0,), (0, 0))).encode()


def described(**meta):
    return tensors_file({"__metadata__": meta, BIAS: entry()}, ONES)


SAFETENSORS = {
    "text": b"a" * 1000,
    "a short header": b"\x01",
    "a header in terabytes": tensors_file({}, size=2**42),
    "a header beyond all": tensors_file({}, size=2**64 - 1),
    "no header": tensors_file(b""),
    "a header that is a list": tensors_file([]),
    "a header that nests": tensors_file(b'{"a":' + b"[" * 100_000),
    "a header that is not UTF-8": tensors_file(b'{"\xff":1}'),
    "a header of two objects": tensors_file(b"{}{}"),
    "a name twice": tensors_file(
        json.dumps({"a": entry(), "b": entry(span=(16, 32))}).replace('"b"', '"a"').encode(), ONES * 2
    ),
    "overlapping": tensors_file({"a": entry(), BIAS: entry(span=(8, 24))}, ONES * 2),
    "the same place twice": tensors_file({"a": entry(), BIAS: entry()}, ONES),
    "a hole": tensors_file({"a": entry(), BIAS: entry(span=(20, 36))}, ONES * 3),
    "outside": tensors_file({BIAS: entry(span=(16, 32))}, ONES),
    "backwards": tensors_file({BIAS: entry(span=(16, 0))}, ONES),
    "negative": tensors_file({BIAS: entry(span=(-16, 0))}, ONES),
    "too short": tensors_file({BIAS: entry()}, ONES[:8]),
    "too long": tensors_file({BIAS: entry()}, ONES * 2),
    "a shape too large": tensors_file({BIAS: entry((8,))}, ONES),
    "a shape in terabytes": tensors_file({BIAS: entry((2**40,), (0, 2**42))}, ONES),
    "a shape that overflows": tensors_file({BIAS: entry((2**62, 2**62, 4))}, ONES),
    "a shape that overflows to nothing": tensors_file({BIAS: entry((0, 2**63), (0, 0))}),
    "a shape of nothing in terabytes": tensors_file({BIAS: entry((0, 2**62, 2**62), (0, 0))}),
    "a shape of half numbers": tensors_file({BIAS: entry((0.5,))}, ONES),
    "an unknown type": tensors_file({BIAS: entry(kind="F31")}, ONES),
    "names with line breaks": tensors_file({"a\nb" * 1000: entry()}, ONES),
    "names with line breaks, badly placed": tensors_file({"a\nb" * 1000: entry(span=(1, 2))}, ONES),
    "names of rare characters": tensors_file({"\U000e0001" * 1000: entry()}, ONES),
    "100,000 names": tensors_file({f"a{i}": entry((0,), (0, 0)) for i in range(100_000)}),
    "500,000 names": lambda: tensors_file(
        b"{" + b",".join(b'"%d":' % i + NOTHING for i in range(500_000)) + b"}"
    ),
    "a description of 30 million lists": lambda: described(
        **{"distill-bench": "[" + "[]," * 30_000_000 + "0]"}
    ),
    "a description that nests": described(**{"distill-bench": "[" * 200_000}),
    "a description that is a list": described(**{"distill-bench": "[]"}),
    "a description that is not JSON": described(**{"distill-bench": "{"}),
    "a long number in the description": described(**{"distill-bench": "9" * 10_000}),
    "a network that is text": described(**{"distill-bench": '{"network": "SongUNet"}'}),
    "a network that is None": described(**{"distill-bench": '{"network": null}'}),
    "a network of unknown arguments": described(**{"distill-bench": '{"network": {"a\\n": 1}}'}),
    "a network that is not a number": described(**{"distill-bench": '{"network": {"dropout": NaN}}'}),
}


@pytest.mark.parametrize("title", SAFETENSORS)
def test_hostile_safetensors_are_refused(reader, tmp_path, title):
    path = tmp_path / "network.safetensors"
    content = SAFETENSORS[title]
    path.write_bytes(content() if callable(content) else content)
    recorded = "network that" in title or "network of" in title
    assert_refused(reader, path, network=True if recorded and "None" not in title else TINY)


SIZES = {
    1: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0",
    2: "I16 U16 F16 BF16",
    4: "I32 U32",
    8: "C64 F64 I64 U64",
    0.5: "F4",
}


@pytest.mark.parametrize(
    ("size", "kind"), [(size, kind) for size, kinds in SIZES.items() for kind in kinds.split()]
)
def test_every_other_type_of_safetensors_is_refused(reader, tmp_path, size, kind):
    path = tmp_path / "network.safetensors"
    path.write_bytes(tensors_file({BIAS: entry((4,), (0, int(4 * size)), kind)}, bytes(int(4 * size))))
    assert_refused(reader, path, network=TINY)


# -- what is not a file ----------------------------------------------------------------------------


def a_link_to_a_text(path):
    path.symlink_to(__file__)


def large(start):
    """A sparse file of 64 GB."""

    def make(path):
        with path.open("wb") as file:
            file.write(start)
            file.truncate(2**36)

    make.__name__ = f"64 GB after {start[:4].hex()}"
    return make


def large_storage(path):
    """A sparse file of 64 GB, whose one tensor is as large as it says."""
    count = 2**34
    inner = stream(b"", count=count)
    before, after = snapshot_around(len(inner) + 4 * count)
    with path.open("wb") as file:
        file.write(before + inner)
        file.seek(4 * count, 1)
        file.write(after)


def snapshot_around(size):
    """The beginning and end of a snapshot with one tensor, whose storage is ``size`` bytes between them."""
    mark = b"HERE"
    held = Call("torch.storage", "_load_from_bytes", (Raw(b"\x8e" + struct.pack("<Q", size) + mark),))
    content = snapshot(model=record("SongUNet", module({"weight": tensor((2**34,), held=held)})))
    before, after = content.split(mark)
    return before, after


def large_tensors(path):
    with path.open("wb") as file:
        file.write(tensors_file({BIAS: entry((2**34,), (0, 2**36))}))
        file.truncate(file.tell() + 2**36)


PLACES = [
    a_pipe,
    a_loop,
    a_dangling_link,
    an_endless_device,
    an_empty_device,
    nothing,
    a_folder,
    a_link_to_a_text,
    large_storage,
]
PLACES += [
    large_tensors,
    large(b"\x80\x04"),
    large(b"PK\x03\x04"),
    large(pickle_of(MAGIC, 2)),
    large(b""),
    large(b"\xff"),
]


@pytest.mark.parametrize("make", PLACES, ids=lambda make: make.__name__)
def test_what_is_not_a_file_of_weights_is_refused(reader, tmp_path, make):
    path = tmp_path / "network.pkl"
    make(path)
    assert_refused(reader, path)


@pytest.mark.parametrize(
    "load", [read_checkpoint, lambda path: load_network(path, NetworkConfig.checked(TINY, "here"))]
)
def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch, load):
    path = tmp_path / "network.pkl"
    write_snapshot(path, TINY, tiny())

    def forbidden(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(UsageError) as refusal:
        load(path)
    assert_sentence(str(refusal.value), path)


@pytest.mark.parametrize("make", [nothing, a_folder, a_loop, a_pipe], ids=lambda make: make.__name__)
def test_loading_what_is_not_a_file_is_refused_before_it_is_hashed(tmp_path, make):
    path = tmp_path / "network.pkl"
    make(path)
    with pytest.raises(UsageError) as refusal:
        load_network(path, NetworkConfig.checked(TINY, "here"))
    assert_sentence(str(refusal.value), path)
