"""Reads files in processes of their own, and says of each how it ended, how long it took, what
memory, and what it touched.

Run as a module it is the worker: a process that has everything imported, and forks a child for each
file that it is sent.
"""

from __future__ import annotations

import codecs
import contextlib
import copyreg
import functools
import gc
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

SECONDS = 60
"""Of work, the longest that a file may take. None takes one; what grows without end takes minutes
on any machine.
"""
HANGS = 600
"""Seconds on the clock after which a child is taken to wait for ever."""
MEGABYTES = 2048
SPARE = 2**31
"""Bytes of address space beyond what the imports took."""
EXTENSION = 240
TOUCHES = (
    "os.",
    "subprocess.",
    "shutil.",
    "socket.",
    "ctypes.",
    "marshal.",
    "pickle.",
    "code.__new__",
    "pty.",
    "webbrowser.",
)


@dataclass
class Outcome:
    """How reading a file ended."""

    error: str | None
    """Class of the exception; None if the file was read."""
    message: str
    seconds: float
    """Of work."""
    megabytes: int
    """Peak of the whole process, some 500 of which are torch."""
    touched: list[str]
    """What ``watched`` saw."""
    warned: list[str]
    tensors: dict[str, Any]
    """By name the type, the shape, and whether all values are finite."""


class Reader:
    """The worker, seen from a test."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "BENCH_CACHE": str(folder),
            "BENCH_OFFLINE": "1",
        }
        command, pipe, top = (
            [sys.executable, "-m", "tests.helpers.reader_process"],
            subprocess.PIPE,
            Path(__file__).parents[2],
        )
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=top
        )

    def read(self, path: Path, network: dict[str, Any] | bool = False) -> Outcome:
        """Through ``read_checkpoint``, and then into a network: the one that the file records
        (True), or the one given.
        """
        return self.read_all([path], network)[0]

    def read_all(self, paths: list[Path], network: dict[str, Any] | bool = False) -> list[Outcome]:
        """One after the other in one process; if it dies, all of them are said to have ended so."""
        return [
            Outcome(**outcome) for outcome in self._ask("read", [str(path) for path in paths], network)
        ]

    def unpickle(self, *paths: Path) -> None:
        """As the stock loader would: whatever is in the files is run."""
        self._ask("unpickle", [str(path) for path in paths], False)

    def _ask(self, *question: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def assert_refused(
    reader: Reader, path: Path, because: str = "", network: dict[str, Any] | bool = False
) -> None:
    """The file is refused, for this reason, as a refusal should be."""
    assert_refusal(reader.read(path, network), path, because)


def assert_refusal(outcome: Outcome, path: Path, because: str = "") -> None:
    """It is one, for this reason, as a refusal should be."""
    assert outcome.error in ("UsageError", "Malformed"), outcome
    assert_sentence(outcome.message, path)
    assert because in outcome.message, outcome.message
    assert_cheap(outcome)


def assert_sentence(message: str, path: Path) -> None:
    said = message.replace(str(path), "FILE")
    assert "FILE" in said, f"it does not name the file: {said!r}"
    assert said.isprintable(), f"it has a line break or other control characters: {said!r}"
    assert len(said) < 400, f"{len(said)} characters: {said}"
    assert said.endswith("."), f"not a sentence: {said}"
    assert ". " not in said, f"not one sentence: {said}"


def assert_cheap(outcome: Outcome) -> None:
    """It took little time and memory, touched nothing, and warned of nothing."""
    assert outcome.seconds < SECONDS, outcome
    assert outcome.megabytes < MEGABYTES, outcome
    assert not outcome.touched, outcome.touched
    assert not outcome.warned, outcome.warned


_watched: list[str] | None = None
"""What the hook adds to; a hook cannot be removed, so it looks here."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _watched.append(f"open to write: {args[0]}")
    elif event in ("import", "exec", "compile") or event.startswith(TOUCHES):
        _watched.append(f"{event} {str(args)[:80]}")


@functools.cache
def _hook() -> None:
    sys.addaudithook(_audit)


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Lists what reading data has no business with: processes, imports, code, files opened to write."""
    global _watched
    _hook()
    _watched = events = list[str]()
    try:
        yield events
    finally:
        _watched = None


def warm_up(folder: Path) -> None:
    """Have imported what reading imports late."""
    import torch
    from safetensors.torch import save_file

    from teachers.files.checkpoints import read_checkpoint
    from teachers.networks.config import NetworkConfig

    NetworkConfig.model_validate(
        {"model_type": "SongUNet", "img_resolution": 8, "img_channels": 1}
    ).on_meta()
    codecs.lookup("cp437")  # of names in zips
    tensors = {"a": torch.ones(2)}
    torch.save(tensors, folder / "zip.pt")
    torch.save(tensors, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(tensors, folder / "a.safetensors")
    contents = [b"", b"?", b"\x80\x04N.", b"PK\x03\x04", (folder / "legacy.pt").read_bytes()[:-3]]
    for number, content in enumerate(contents):
        (folder / f"{number}").write_bytes(content)
    for path in folder.iterdir():
        with contextlib.suppress(Exception):
            read_checkpoint(path)


def _work() -> None:
    """Answer questions, each from a fork."""
    with tempfile.TemporaryDirectory() as folder:
        warm_up(Path(folder))
    gc.freeze()  # so that children do not copy what they do not change
    answers = {"read": _read, "unpickle": _unpickle}
    for line in sys.stdin:
        what, paths, network = json.loads(line)
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            _limit()
            try:
                said = [answers[what](Path(path), network) for path in paths]
                with os.fdopen(send, "w") as pipe:
                    json.dump(said, pipe)
            finally:
                os._exit(0)
        os.close(send)
        with os.fdopen(receive) as pipe:
            text = pipe.read()
        status, usage = os.wait4(child, 0)[1:]
        outcomes = json.loads(text) if text else [_died(status)] * len(paths)
        print(
            json.dumps([outcome | {"megabytes": usage.ru_maxrss // 1024} for outcome in outcomes]),
            flush=True,
        )


def _limit() -> None:
    """What hangs ends, be it busy or waiting, and what asks for more than ``SPARE`` is refused it."""
    signal.alarm(HANGS)
    resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 2 * SECONDS))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, size + SPARE))


def _died(status: int) -> dict[str, Any]:
    cause = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
    return {
        "error": f"ended by {cause}",
        "message": "",
        "seconds": 2.0 * SECONDS,
        "touched": [],
        "warned": [],
        "tensors": {},
    }


def _read(path: Path, network: dict[str, Any] | bool) -> dict[str, Any]:
    from bench.files.tensors import load_weights
    from teachers.files.checkpoints import read_checkpoint
    from teachers.networks.config import NetworkConfig

    where = f"the weights file {str(path)!r}"
    outcome: dict[str, Any] = {"error": None, "message": "", "tensors": {}}
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught, watched() as touched:
        warnings.simplefilter("always")
        try:
            kwargs, tensors = read_checkpoint(path)
            if network:
                kwargs = kwargs if network is True else network
                load_weights(NetworkConfig.checked(kwargs, where).on_meta(), tensors, where)
            outcome["tensors"] = {
                n: [str(t.dtype), list(t.shape), bool(t.isfinite().all())] for n, t in tensors.items()
            }
        except BaseException as error:
            outcome |= {"error": type(error).__name__, "message": str(error)[:2000]}
    return outcome | {
        "seconds": time.process_time() - start,
        "touched": touched,
        "warned": [str(w.message) for w in caught],
    }


def _unpickle(path: Path, _network: bool) -> dict[str, Any]:
    """Everything in the file, with a stock loader's way with source texts, and an extension that
    stands for os.system.
    """
    import torch

    persistence = ModuleType("torch_utils.persistence")
    persistence._reconstruct_persistent_obj = lambda meta: exec(meta["module_src"], {})  # type: ignore[attr-defined]
    sys.modules |= {"torch_utils": ModuleType("torch_utils"), "torch_utils.persistence": persistence}
    copyreg.add_extension(os.system.__module__, "system", EXTENSION)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    with (
        path.open("rb") as file,
        contextlib.suppress(BaseException),
        warnings.catch_warnings(action="ignore"),
    ):
        if path.suffix == ".pt":
            torch.load(path, weights_only=False)
        while True:
            pickle.load(file)
    return {}


if __name__ == "__main__":
    _work()
