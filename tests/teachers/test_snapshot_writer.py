"""The files that tests write are of the genuine format: its operations, its names, its beginning,
and nothing besides.
"""

from __future__ import annotations

import json
import pickletools
import sys

import pytest
import torch

from teachers.files.checkpoints import read_checkpoint
from tests.helpers.edm_reference import CONFIGURATIONS, stored, weights
from tests.helpers.snapshot_writer import write_snapshot

OPERATIONS = """
PROTO FRAME EMPTY_DICT EMPTY_LIST EMPTY_TUPLE EMPTY_SET MARK MEMOIZE BINGET LONG_BINGET SHORT_BINUNICODE BINUNICODE BINBYTES
SHORT_BINBYTES BININT BININT1 BININT2 BINFLOAT NEWTRUE NEWFALSE NONE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS APPENDS
STACK_GLOBAL REDUCE NEWOBJ BUILD STOP
"""
NAMES = {
    "torch_utils.persistence _reconstruct_persistent_obj",
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    "torch.storage _load_from_bytes",
    "torch.nn.modules.container ModuleDict",
    "numpy._core.multiarray scalar",
    "numpy dtype",
}
BEGINNING = "PROTO FRAME EMPTY_DICT MEMOIZE MARK 'ema' MEMOIZE 'torch_utils.persistence' MEMOIZE '_reconstruct_persistent_obj' MEMOIZE"
BEGINNING += " STACK_GLOBAL MEMOIZE EMPTY_DICT MEMOIZE MARK 'type' MEMOIZE 'class' MEMOIZE 'version' MEMOIZE BININT1 'module_src'"


def recorded(config):
    return json.loads(str(stored(config)["config_json"])), weights(config)


def dissected(content):
    """The operations of a pickle, and the names that it mentions."""
    operations, names, texts, memo, last = [], set(), [], {}, None
    for operation, argument, _ in pickletools.genops(content):
        value = memo.get(argument) if operation.name in ("BINGET", "LONG_BINGET") else argument
        if operation.name == "MEMOIZE":
            memo[len(memo)] = last
        if operation.name.endswith("PUT"):
            memo[argument] = last
        if operation.name == "GLOBAL":
            names.add(argument)
        if operation.name == "STACK_GLOBAL":
            names.add(" ".join(texts[-2:]))
        if isinstance(value, str):
            texts.append(value)
        operations.append(operation.name if "UNICODE" not in operation.name else repr(value))
        last = value
    return operations, names


@pytest.mark.parametrize("form", ["edm", "sid", "sida"])
@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_what_is_written_is_genuine_and_is_read_as_it_was(tmp_path, config, form):
    kwargs, tensors = recorded(config)
    write_snapshot(tmp_path / "network.pkl", kwargs, tensors, form)
    operations, names = dissected((tmp_path / "network.pkl").read_bytes())
    beginning = (
        BEGINNING if form == "edm" else BEGINNING.replace("MARK 'ema'", "'ema'")
    )  # of one key, not of four
    assert " ".join(operations).startswith(beginning)
    assert {operation for operation in operations if not operation.startswith(("'", '"'))} <= set(
        OPERATIONS.split()
    )
    assert names == NAMES
    read_kwargs, read_tensors = read_checkpoint(tmp_path / "network.pkl")
    assert read_kwargs == kwargs
    assert list(read_tensors) == list(tensors)
    torch.testing.assert_close(read_tensors, tensors, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "more", "fewer"),
    [
        ({"protocol": 5}, set(), set()),
        ({"numpy": 1}, {"numpy.core.multiarray scalar"}, {"numpy._core.multiarray scalar"}),
        ({"old_torch": True}, set(), set()),
        ({"hooks": ("_hooks_of_next_year",)}, set(), set()),
        ({"easy_dict": True}, {"dnnlib.util EasyDict"}, set()),
        (
            {"form": "sida", "old_torch": True, "numpy": 1},
            {"numpy.core.multiarray scalar"},
            {"numpy._core.multiarray scalar"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_other_times_wrote_other_names(tmp_path, options, more, fewer):
    kwargs, tensors = recorded("ncsnpp_uncond_aug")
    write_snapshot(tmp_path / "network.pkl", kwargs, tensors, **options)
    assert dissected((tmp_path / "network.pkl").read_bytes())[1] == NAMES - fewer | more
    read_kwargs, read_tensors = read_checkpoint(tmp_path / "network.pkl")
    assert read_kwargs == kwargs
    torch.testing.assert_close(read_tensors, tensors, rtol=0, atol=0)


def test_protocol_3_makes_sets_by_a_call(tmp_path):
    kwargs, tensors = recorded("adm_cond")
    write_snapshot(tmp_path / "network.pkl", kwargs, tensors, protocol=3)
    operations, names = dissected((tmp_path / "network.pkl").read_bytes())
    assert names == NAMES | {"builtins set"}
    assert not {"STACK_GLOBAL", "MEMOIZE", "FRAME", "EMPTY_SET"} & set(operations)


def test_writing_leaves_no_module_behind_and_repeats_itself(tmp_path):
    kwargs, tensors = recorded("adm_cond")
    before = set(sys.modules)
    for name in "ab":
        write_snapshot(tmp_path / name, kwargs, tensors)
    assert not {"torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"} & (
        set(sys.modules) - before
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
