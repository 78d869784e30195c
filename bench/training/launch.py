"""A grid of runs carried out: each a process of its own, several at a time; finished ones are reused, the others go on."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.environment import cores
from bench.errors import Interrupted, UsageError
from bench.runs.grid import GridRun
from bench.runs.record import Record
from bench.runs.store import find_asked

POLL_SECONDS = 0.3
LOOK_SECONDS = 3.0
"""Between two looks at the records of the runs at work."""
HELD_SECONDS = 5.0
"""Before a run that another process holds is tried again."""


class Grid:
    """Carries out what waits among the cells, ``processes`` at a time; a run that fails is noted, and the others go on.

    Each process has an equal share of the processor's threads and, if there are any, one of the ``gpus``, named as in
    CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, cells: list[GridRun], results: Path, processes: int, gpus: Sequence[str] = ()) -> None:
        self.cells, self.results, self.gpus = cells, results, gpus
        self.slots: list[_Process | None] = [None] * processes
        self.threads = max(1, cores() // processes)
        self.looked = 0.0

    def carry_out(self, watch: Callable[[list[GridRun]], None] = lambda cells: None) -> None:
        """Run all, and tell ``watch`` now and then how the grid stands.

        Raises Interrupted after SIGINT or SIGTERM, when every process has saved its checkpoint. If this process is killed, the
        others save theirs and end (on Linux).
        """
        with tempfile.TemporaryDirectory() as scratch, _stop_asked() as asked:
            try:
                while True:
                    self._collect()
                    clock = time.monotonic()
                    waiting = [cell for cell in self.cells if cell.state == "waiting"]
                    ready = [cell for cell in waiting if cell.not_before <= clock]
                    for slot, process in enumerate(self.slots):
                        if process is None and ready and not asked:
                            self.slots[slot] = self._start(ready.pop(0), slot, Path(scratch))
                        elif process is not None and asked:
                            process.stop()
                    watch(self.cells)
                    if not any(self.slots) and (asked or not waiting):
                        break
                    time.sleep(POLL_SECONDS)
            finally:  # whatever went wrong here, no run is left behind
                for process in filter(None, self.slots):
                    process.stop()
                    process.process.wait()
            if asked:
                raise Interrupted("stopped with every checkpoint saved; the same command continues.")

    def _start(self, cell: GridRun, slot: int, scratch: Path) -> _Process:
        """A process of ``bench run`` for one cell."""
        recipe = scratch / f"{len(list(scratch.iterdir()))}.yaml"
        recipe.write_text(yaml.safe_dump(cell.request.model_dump(exclude={"device"}, exclude_none=True)), encoding="utf-8")
        command = [sys.executable, "-m", "bench", "run", "--recipe", str(recipe), "--results", str(self.results)]
        command += ["--device", cell.request.device, "--no-teacher", "--format", "json"]
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return _Process(cell, command, environment, recipe)

    def _collect(self) -> None:
        """Take note of what the processes have done."""
        look = time.monotonic() - self.looked > LOOK_SECONDS
        self.looked = time.monotonic() if look else self.looked
        for slot, process in enumerate(self.slots):
            if process is None:
                continue
            if process.ended():
                self.slots[slot] = None
            elif look:
                process.cell.record = find_asked(process.cell.request, self.results) or process.cell.record


class _Process:
    """One run's process, what it says, and the record that it prints at its end."""

    def __init__(self, cell: GridRun, command: list[str], environment: dict[str, str], recipe: Path) -> None:
        self.cell, self.started, self.stopped = cell, time.monotonic(), False
        self.said, self.record = recipe.with_suffix(".err"), recipe.with_suffix(".json")
        cell.state, cell.error = "running", ""
        with self.said.open("wb") as stderr, self.record.open("wb") as stdout:
            nothing = subprocess.DEVNULL
            self.process = subprocess.Popen(
                command, env=environment, stdin=nothing, stdout=stdout, stderr=stderr, preexec_fn=_die_together
            )

    def ended(self) -> bool:
        """Whether the process is over; then its cell says how it went. One that was interrupted, or held, waits to go on."""
        self.cell.seconds = time.monotonic() - self.started
        code = self.process.poll()
        if code is None:
            return False
        if code == 0:
            self.cell.state, self.cell.record = "done", Record.model_validate_json(self.record.read_bytes())
        elif self.stopped or code == Interrupted.exit_code:
            self.cell.state, self.cell.not_before = "waiting", time.monotonic() + HELD_SECONDS
        else:
            lines = self.said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            self.cell.state, self.cell.error = "failed", (errors or lines or [f"it ended with code {code}"])[-1]
        return True

    def stop(self) -> None:
        """Ask it, once, to save its checkpoint and end."""
        if not self.stopped:
            self.stopped = True
            self.process.send_signal(signal.SIGTERM)


_PARENT_DIES = 1  # prctl's PR_SET_PDEATHSIG
_prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None  # bound here: after a fork is late


def _die_together() -> None:
    """In the child, on Linux: be asked to stop when the parent dies, however it dies."""
    if _prctl is not None:
        _prctl(_PARENT_DIES, signal.SIGTERM)


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """A list that is not empty once SIGINT or SIGTERM has come; outside the main thread, which alone hears them, it stays so."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def visible_gpus(device: str) -> list[str]:
    """The GPUs that runs on ``device`` may be given, one each, as CUDA_VISIBLE_DEVICES names them. Raises UsageError for one GPU.

    A suite runs one process a GPU, so that ``cuda:1`` would mean another one in each of them.
    """
    if device == "cpu" or not (count := torch.cuda.device_count()):
        return []
    if device.startswith("cuda:"):
        raise UsageError(
            f"a comparison gives each run a GPU of its own, given --device {device}; set CUDA_VISIBLE_DEVICES instead."
        )
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] or [str(number) for number in range(count)]
