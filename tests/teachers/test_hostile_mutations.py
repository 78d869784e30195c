"""Valid files, cut anywhere or changed at random: refused in a sentence, or read as finite numbers
of the right shapes.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pickletools
import random
import resource
import struct
import time
import warnings

import pytest
import safetensors.torch
import torch
from torch import nn

from bench.errors import UsageError
from bench.plugin import load_weights
from teachers.files.checkpoints import read_checkpoint
from tests.helpers.handmade_pickles import (
    FLOATS,
    NO_HOOKS,
    Call,
    Raw,
    code,
    floats,
    module,
    name,
    network,
    pickle_of,
    record,
    snapshot,
    storage,
    stream,
    tensor,
)  # fmt: skip
from tests.helpers.reader_process import (
    MEGABYTES,
    SECONDS,
    assert_cheap,
    assert_sentence,
    warm_up,
    watched,
)
from tests.helpers.snapshot_writer import write_snapshot
from tests.helpers.tiny_network import TINY, tiny

MUTATIONS = 5_000
KEPT = ("map_layer0", "8x8_conv", "enc.8x8_block0", "aux")
"""The parts of the network that the valid file has: enough for every kind of record."""
EXTREMES = [
    struct.pack("<Q", n) for n in (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
]
OPERATIONS = [op.code.encode("latin-1") for op in pickletools.opcodes]
SNIPPETS = [
    b"(",
    b"0",
    b"2",
    b"\x94",
    b"h\x00",
    b"h\x01",
    b"h\x05",
    b")R",
    b"}b",
    b"]",
    b"\x85",
    b"\x86",
    b"N",
    b"Q",
    b"K\xff",
    b".",
]
SNIPPETS += [
    b"cos\nsystem\n",
    b"cposix\nsystem\nX\x02\x00\x00\x00id\x85R",
    b"\x8c\x02os\x8c\x06system\x93",
    b"\x82\x01",
]


@functools.cache
def some():
    return {name: tensor for name, tensor in tiny().items() if any(part in name for part in KEPT)}


def shell(tensors):
    """A network with just these tensors."""
    root = nn.Module()
    for dotted, value in tensors.items():
        *parents, leaf = dotted.split(".")
        node = root
        for parent in parents:
            if parent not in node._modules:
                node.add_module(parent, nn.Module())
            node = node._modules[parent]
        node.register_buffer(leaf, torch.empty_like(value, device="meta"))
    return root


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """The bytes of a snapshot, and where its operations begin."""
    path = tmp_path_factory.mktemp("valid") / "network.pkl"
    write_snapshot(path, TINY | {"augment_dim": 9}, some(), old_torch=True, source_bytes=200)
    content = path.read_bytes()
    return content, [position for _, _, position in pickletools.genops(content)]


def assert_harmless(path):
    """Within the limits of time and honesty; returns the seconds it took."""
    start = time.process_time()
    with warnings.catch_warnings(), watched() as touched:
        warnings.simplefilter("error")
        try:
            _, tensors = read_checkpoint(path)
        except UsageError as error:
            assert_sentence(str(error), path)
            tensors = None
    seconds = time.process_time() - start
    assert seconds < SECONDS
    assert not touched
    if tensors is not None:
        network = shell(some())
        try:
            load_weights(network, tensors, f"the weights file {str(path)!r}")
        except UsageError as error:
            assert_sentence(str(error), path)
        else:
            found = network.state_dict()
            assert {k: (v.dtype, v.shape) for k, v in found.items()} == {
                k: (v.dtype, v.shape) for k, v in some().items()
            }
            assert all(v.isfinite().all() for v in found.values())
    return seconds


def test_the_valid_file_is_read_as_it_was_written(valid, tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(valid[0])
    kwargs, tensors = read_checkpoint(path)
    assert kwargs == TINY | {"augment_dim": 9}
    torch.testing.assert_close(tensors, some(), rtol=0, atol=0)


def test_a_file_cut_at_any_operation_is_refused(valid, tmp_path):
    content, positions = valid
    path = tmp_path / "network.pkl"
    for position in positions:
        path.write_bytes(content[:position])
        with pytest.raises(UsageError) as refusal:
            read_checkpoint(path)
        assert_sentence(str(refusal.value), path)


def test_a_storage_cut_anywhere_is_refused(tmp_path):
    whole, path = stream(floats(*[1.0] * 6)), tmp_path / "network.pkl"
    for length in range(len(whole)):
        held = Call("torch.storage", "_load_from_bytes", (whole[:length],))
        path.write_bytes(snapshot(model=record("SongUNet", module({"weight": tensor(held=held)}))))
        with pytest.raises(UsageError) as refusal:
            read_checkpoint(path)
        assert_sentence(str(refusal.value), path)


def mutated(content, positions, chance):
    """One to three changes, half of them where an operation begins."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at = chance.choice(positions) if chance.random() < 0.5 else chance.randrange(len(content))
        at = min(at, len(data))
        length = min(chance.choice((1, 1, 2, 4, 9, 30, 300)), len(data) - at)
        match chance.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.randrange(256)
            case 2:
                data[at : at + 1] = chance.choice(OPERATIONS)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                other = chance.choice(positions)
                data[at : at + length] = data[other : other + length]
            case 6:
                data[at:at] = chance.choice(SNIPPETS)
            case 7:
                width = chance.choice((1, 2, 4, 8))
                data[at + 1 : at + 1 + width] = chance.choice(EXTREMES)[:width]
            case 8 if chance.random() < 0.1:
                del data[at:]
    return bytes(data)


ODD = [
    None,
    True,
    0,
    -1,
    2**31,
    2**62,
    -(2**100),
    1.5,
    float("nan"),
    "",
    "a" * 1000,
    "\n\U000e0001",
    b"",
    b"ab",
    (),
    [],
    {},
]
ODD += [
    set(),
    ("a",),
    [1],
    {"a": 1},
    NO_HOOKS,
    network(),
    FLOATS,
    Raw(name("torch._utils", "_rebuild_tensor_v2")),
]
ODD += [Raw(b")" + b"\x85" * 5_000), Raw(b"]r\xff\x00\x00\x00j\xff\x00\x00\x00a")]
ODD += [
    Raw(b")" + b"".join(struct.pack("<cIcI", b"r", k, b"j", k) + b"\x86" for k in range(1_000, 1_060)))
]
"""Things of every kind, among them a deep one, one inside itself, and one of 2^60 leaves."""


def replaced(value, odd):
    """Copies of a value in which one thing, at any depth, is an odd one."""
    yield odd
    match value:
        case dict():
            for one, part in value.items():
                yield Raw(
                    b"}("
                    + b"".join(code(odd if key == one else key) + code(value[key]) for key in value)
                    + b"u"
                )
                yield from (value | {one: new} for new in replaced(part, odd))
        case tuple() | list():
            for i, part in enumerate(value):
                yield from (
                    type(value)((*value[:i], new, *value[i + 1 :])) for new in replaced(part, odd)
                )
        case Call():
            yield from (dataclasses.replace(value, args=new) for new in replaced(value.args, odd))


def test_any_part_may_be_anything(tmp_path):
    """Each part of a right snapshot and of its storage, replaced by things of every kind."""
    path, right = tmp_path / "network.pkl", {"ema": network(kwargs=TINY)}
    parts = ("magic", "version", "system", "reference", "keys", "kind", "key", "place", "count", "view")
    for odd in ODD:
        storages = [storage(floats(*[1.0] * 6), **{part: odd, "count_again": 6}) for part in parts]
        snapshots = [
            {"ema": network(record("SongUNet", module({"weight": tensor(held=held)})))}
            for held in storages
        ]
        for content in itertools.chain(replaced(right, odd), snapshots):
            path.write_bytes(pickle_of(content))
            try:
                _, tensors = read_checkpoint(path)
            except UsageError as error:
                assert_sentence(str(error), path)
            else:
                torch.testing.assert_close(
                    tensors, {"model.weight": torch.ones(2, 3)} if tensors else {}
                )


def test_thousands_of_mutations_do_no_harm(valid, tmp_path, reader):
    content, positions = valid
    path, chance, seconds, before = tmp_path / "network.pkl", random.Random(20), {}, _peak_megabytes()
    (tmp_path / "warm").mkdir()
    warm_up(tmp_path / "warm")
    for number in range(MUTATIONS):
        path.write_bytes(mutated(content, positions, chance))
        try:
            seconds[number] = assert_harmless(path)
        except BaseException:
            print(f"mutation {number}")
            raise
    assert _peak_megabytes() - before < MEGABYTES / 4
    chance, slowest = random.Random(20), sorted(seconds, key=lambda n: -seconds[n])[:20]
    for number in range(MUTATIONS):
        data = mutated(content, positions, chance)
        if number in slowest:
            path.write_bytes(data)
            assert_cheap(reader.read(path))


def _peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("kind", ["pt", "legacy.pt", "safetensors"])
def test_mutations_of_other_formats_do_no_harm(tmp_path, reader, kind):
    """Apart from this process, because the readers are not Python."""
    whole = tmp_path / f"whole.{kind}"
    if kind == "safetensors":
        safetensors.torch.save_file(some(), whole)
    else:
        torch.save(some(), whole, _use_new_zipfile_serialization=kind == "pt")
    content, chance, paths = whole.read_bytes(), random.Random(20), []
    head = len(content) // 2 if kind == "pt" else 5_000
    for number in range(400):
        paths.append(tmp_path / f"{number}.{kind}")
        paths[-1].write_bytes(mutated(content, range(head), chance))
    for path, outcome in zip(paths, reader.read_all(paths), strict=True):
        assert_cheap(outcome)
        if outcome.error is not None:
            assert outcome.error in ("UsageError", "Malformed"), outcome
            assert_sentence(outcome.message, path)
