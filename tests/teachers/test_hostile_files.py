"""Files that hold code: each lives in a stock loader, and in this suite's is refused or carried
without being run.
"""

from __future__ import annotations

import marshal
import os
import struct

import pytest

from tests.helpers.handmade_pickles import (
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
    snapshot,
    stream,
    tensor,
    zip_holding,
)
from tests.helpers.reader_process import EXTENSION, assert_cheap, assert_refusal, assert_refused
from tests.helpers.waiting import wait_until


def touch(sentinel):
    return f"touch {sentinel}"


def system(sentinel):
    return Call("os", "system", (touch(sentinel),))


def quoted(sentinel):
    return b"S'" + touch(sentinel).encode() + b"'\n"


def function_of(sentinel):
    compiled = marshal.dumps(compile(f"open({str(sentinel)!r}, 'w')", "", "exec"))
    return Call("types", "FunctionType", (Call("marshal", "loads", (compiled,)), {}))


def method(thing, attribute):
    return Call("builtins", "getattr", (thing, attribute))


def with_storage(blob):
    held = Call("torch.storage", "_load_from_bytes", (blob,))
    return snapshot(model=record("SongUNet", module({"weight": tensor(held=held)})))


SHELL = "/bin/sh"
LIVE = {
    "os.system": system,
    "posix.system": lambda s: Call("posix", "system", (touch(s),)),
    "os.popen": lambda s: Call("os", "popen", (touch(s),)),
    "os.posix_spawn": lambda s: Call("os", "posix_spawn", (SHELL, (SHELL, "-c", touch(s)), {})),
    "os.mkdir": lambda s: Call("os", "mkdir", (str(s),)),
    "os.symlink": lambda s: Call("os", "symlink", (os.devnull, str(s))),
    "os.open": lambda s: Call("os", "open", (str(s), os.O_CREAT)),
    "subprocess.Popen": lambda s: Call("subprocess", "Popen", (["touch", str(s)],)),
    "subprocess.check_output": lambda s: Call("subprocess", "check_output", (["touch", str(s)],)),
    "subprocess.getoutput": lambda s: Call("subprocess", "getoutput", (touch(s),)),
    "pydoc.pipepager": lambda s: Call("pydoc", "pipepager", ("", touch(s))),
    "torch's way to run a command": lambda s: Call("torch.utils.collect_env", "run", (touch(s),)),
    "builtins.eval": lambda s: Call("builtins", "eval", (f"open({str(s)!r}, 'w')",)),
    "builtins.exec": lambda s: Call("builtins", "exec", (f"open({str(s)!r}, 'w')",)),
    "builtins.open": lambda s: Call("builtins", "open", (str(s), "w")),
    "io.FileIO": lambda s: Call("io", "FileIO", (str(s), "w")),
    "timeit.timeit": lambda s: Call(
        "timeit", "timeit", (f"open({str(s)!r}, 'w')", "pass", Raw(name("time", "time")), 1)
    ),
    "cProfile.run": lambda s: Call("cProfile", "run", (f"open({str(s)!r}, 'w')", os.devnull)),
    "numpy's way to run text": lambda s: Call(
        "numpy.testing._private.utils", "runstring", (f"open({str(s)!r}, 'w')", {})
    ),
    "logging.FileHandler": lambda s: Call("logging", "FileHandler", (str(s),)),
    "sqlite3.connect": lambda s: Call("sqlite3", "connect", (str(s),)),
    "shutil.copyfile": lambda s: Call("shutil", "copyfile", (__file__, str(s))),
    "numpy.savetxt": lambda s: Call("numpy", "savetxt", (str(s), [1.0])),
    "torch.save": lambda s: Call("torch", "save", (1, str(s))),
    "getattr of an import": lambda s: apply(
        method(Call("builtins", "__import__", ("os",)), "system"), touch(s)
    ),
    "importlib": lambda s: apply(
        method(Call("importlib", "import_module", ("os",)), "system"), touch(s)
    ),
    "pkgutil.resolve_name": lambda s: apply(Call("pkgutil", "resolve_name", ("os:system",)), touch(s)),
    "ctypes": lambda s: apply(method(Call("ctypes", "CDLL", (None,)), "system"), touch(s).encode()),
    "functools.partial": lambda s: apply(
        Call("functools", "partial", (Raw(name("os", "system")), touch(s)))
    ),
    "operator.attrgetter": lambda s: apply(
        apply(Call("operator", "attrgetter", ("system",)), Call("builtins", "__import__", ("os",))),
        touch(s),
    ),
    "operator.methodcaller": lambda s: apply(
        Call("operator", "methodcaller", ("system", touch(s))), Call("builtins", "__import__", ("os",))
    ),
    "a map that a list makes": lambda s: Call(
        "builtins", "list", (Call("builtins", "map", (Raw(name("os", "system")), [touch(s)])),)
    ),
    "a function of its own code": lambda s: apply(function_of(s)),
    "copyreg": lambda s: Call(
        "copyreg",
        "_reconstructor",
        (popen := Raw(name("subprocess", "Popen")), popen, ["touch", str(s)]),
    ),
    "pickle.loads": lambda s: Call("pickle", "loads", (pickle_of(system(s)),)),
    "an allowed name that is a path": lambda s: Raw(
        code("torch.storage") + code("torch.os.system") + b"\x93" + code((touch(s),)) + b"R"
    ),
    "an allowed name through another module": lambda s: Raw(
        code("torch")
        + code("storage._load_from_bytes")
        + b"\x93"
        + code((stream(b"", magic=system(s)),))
        + b"R"
    ),
    "a name on the stack": lambda s: Raw(
        code("os") + code("system") + b"\x93" + code((touch(s),)) + b"R"
    ),
    "a name from the memo": lambda s: Raw(
        name("os", "system") + b"q\x070h\x07" + code((touch(s),)) + b"R"
    ),
    "INST": lambda s: Raw(b"(" + quoted(s) + b"ios\nsystem\n"),
    "OBJ": lambda s: Raw(b"(" + name("os", "system") + quoted(s) + b"o"),
    "EXT1": lambda s: Raw(b"\x82" + bytes([EXTENSION]) + code((touch(s),)) + b"R"),
    "EXT2": lambda s: Raw(b"\x83" + struct.pack("<H", EXTENSION) + code((touch(s),)) + b"R"),
    "EXT4": lambda s: Raw(b"\x84" + struct.pack("<I", EXTENSION) + code((touch(s),)) + b"R"),
    "a key": lambda s: {system(s): 1},
    "BUILD of a __setstate__": lambda s: module_dict(
        {"__setstate__": Raw(name("os", "system"))}, touch(s)
    ),
}
"""Values that are poison; each is also tried where a snapshot has something that nobody reads."""
LIVE_FILES = {
    "protocol 0": lambda s: b"cos\nsystem\n(" + quoted(s) + b"tR.",
    "the loss": lambda s: pickle_of({"ema": network(), "loss_fn": system(s)}),
    "a second stream": lambda s: snapshot() + pickle_of(system(s)),
    "in a storage, the first pickle": lambda s: with_storage(
        stream(floats(1, 1, 1, 1, 1, 1), magic=system(s))
    ),
    "in a storage, the third pickle": lambda s: with_storage(
        stream(floats(1, 1, 1, 1, 1, 1), system=system(s))
    ),
    "in a storage, the reference": lambda s: with_storage(
        stream(floats(1, 1, 1, 1, 1, 1), reference=system(s))
    ),
    "in a storage, its kind": lambda s: with_storage(stream(floats(1, 1, 1, 1, 1, 1), kind=system(s))),
    "in a storage, a zip": lambda s: with_storage(zip_holding(system(s))),
    "the hooks of a tensor": lambda s: snapshot(
        model=record("SongUNet", module({"weight": tensor(hooks=system(s))}))
    ),
    "the version of a record": lambda s: snapshot(version=system(s)),
}


def poison(sentinel):
    """All files whose code a stock loader runs, by name, each with a sentinel of its own."""
    sentinel.mkdir()
    made = {}
    for number, (title, value) in enumerate(LIVE.items()):
        made[title] = sentinel / str(number), pickle_of(value(sentinel / str(number)))
        inside = sentinel / f"{number}-inside"
        made[f"{title}, unread"] = (
            inside,
            snapshot(model=record("SongUNet", module({"weight": tensor()}, dropout=value(inside)))),
        )
    for title, content in LIVE_FILES.items():
        own = sentinel / str(len(made))
        made[title] = own, content(own)
    return made


def test_poison_is_alive_in_a_stock_loader_and_dead_in_ours(reader, tmp_path):
    """One test, because the first half is what gives the second its meaning."""
    files = poison(tmp_path / "sentinels")
    assert len(files) > 40
    paths = [tmp_path / f"{number}.pkl" for number in range(len(files))]
    for path, (_, content) in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    for title, path, outcome in zip(files, paths, reader.read_all(paths), strict=True):
        try:
            assert_refusal(outcome, path)
        except AssertionError as error:
            raise AssertionError(title) from error
        assert not os.path.lexists(files[title][0]), f"{title} ran in ours"
    reader.unpickle(*paths)
    for title, (
        sentinel,
        _,
    ) in files.items():  # some are touched by a process that the loader has started
        wait_until(
            lambda s=sentinel: os.path.lexists(s),
            f"{title} has done something in a stock loader, or it proves nothing",
        )


TORCH_FILES = {
    "zip": lambda s: zip_holding({"a": system(s)}),
    "legacy": lambda s: stream(b"", reference={"a": system(s)}, keys=[]),
    "legacy, the magic number": lambda s: stream(b"", magic=system(s)),
}


@pytest.mark.parametrize("title", TORCH_FILES)
def test_poison_in_files_of_torch(reader, tmp_path, title):
    sentinel, path = tmp_path / "sentinel", tmp_path / "network.pt"
    path.write_bytes(TORCH_FILES[title](sentinel))
    assert_refused(reader, path)
    assert not sentinel.exists()
    reader.unpickle(path)
    assert sentinel.exists()


UNUSED = {
    "a source text": lambda s: snapshot(module_src=f"open({str(s)!r}, 'w')"),
    "a storage of the loss": lambda s: pickle_of(
        {
            "ema": network(),
            "loss_fn": Call("torch.storage", "_load_from_bytes", (stream(b"", magic=system(s)),)),
        }
    ),
}


@pytest.mark.parametrize("title", UNUSED)
def test_what_nobody_reads_is_not_run_either(reader, tmp_path, title):
    sentinel, path = tmp_path / "sentinel", tmp_path / "network.pkl"
    path.write_bytes(UNUSED[title](sentinel))
    outcome = reader.read(path)
    assert outcome.error is None, outcome
    assert_cheap(outcome)
    assert not sentinel.exists()
    reader.unpickle(path)
    assert sentinel.exists()
