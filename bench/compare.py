"""A grid of runs carried out: each a process of its own, several at a time; finished ones are reused, the others go on."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.budget import Budget
from bench.errors import Interrupted
from bench.recipe import Request
from bench.record import Record
from bench.store import find_asked, find_finished

POLL_SECONDS = 0.3
State = Literal["waiting", "running", "done", "failed"]


@dataclass
class Cell:
    """One run of a grid, and how it stands."""

    request: Request
    state: State = "waiting"
    record: Record | None = None
    error: str = ""
    reused: bool = False
    seconds: float = 0.0
    """How long its process took, or has taken so far."""

    @property
    def fraction(self) -> float:
        """How much of its budget is spent, as far as its record says."""
        budget = self.record.recipe.get("budget") if self.record is not None and self.state != "done" else None
        if self.record is None or budget is None:
            return float(self.state == "done")
        return min(float(self.record.cost.get((b := Budget.parse(budget)).axis, 0.0)) / b.amount, 1.0)


def cells_of(requests: Sequence[Request], results: Path, *, retry: bool = False) -> list[Cell]:
    """The grid as it stands: what is finished, what failed, and what is still to do. ``retry`` takes failed runs up again."""
    cells = []
    for request in requests:
        cell = Cell(request, record=find_finished(request, results))
        if cell.record is not None:
            cell.state, cell.reused = "done", True
        elif (record := find_asked(request, results)) is not None:
            cell.record = record
            if record.status == "failed" and not retry:
                cell.state, cell.error = "failed", record.error or "for a reason that its record does not give"
        cells.append(cell)
    return cells


class Grid:
    """Carries out what waits among the cells, ``processes`` at a time; a run that fails is noted, and the others go on.

    Each process has an equal share of the processor's threads and, if there are any, the GPU of its own slot.
    """

    def __init__(self, cells: list[Cell], results: Path, processes: int, gpus: int = 0) -> None:
        self.cells, self.results, self.gpus = cells, results, gpus
        self.slots: list[_Process | None] = [None] * processes
        self.threads = max(1, (os.cpu_count() or 1) // processes)

    def carry_out(self, watch: Callable[[list[Cell]], None] = lambda cells: None) -> None:
        """Run all, and tell ``watch`` now and then how the grid stands.

        Raises Interrupted after SIGINT or SIGTERM, when every process has saved its checkpoint. If this process is killed, the
        others save theirs and end.
        """
        with tempfile.TemporaryDirectory() as scratch, _stop_asked() as asked:
            while True:
                self._collect()
                waiting = [cell for cell in self.cells if cell.state == "waiting"]
                for slot, process in enumerate(self.slots):
                    if process is None and waiting and not asked:
                        self.slots[slot] = self._start(waiting.pop(0), slot, Path(scratch))
                    elif process is not None and asked:
                        process.stop()
                watch(self.cells)
                if not any(self.slots):
                    break
                time.sleep(POLL_SECONDS)
            if asked:
                raise Interrupted("stopped with every checkpoint saved; the same command continues.")

    def _start(self, cell: Cell, slot: int, scratch: Path) -> _Process:
        """A process of ``bench run`` for one cell."""
        number = len(list(scratch.iterdir()))
        recipe = scratch / f"{number}.yaml"
        recipe.write_text(yaml.safe_dump(cell.request.model_dump(exclude={"device"}, exclude_none=True)), encoding="utf-8")
        command = [sys.executable, "-m", "bench", "run", "--recipe", str(recipe), "--results", str(self.results)]
        command += ["--device", cell.request.device, "--no-teacher", "--format", "json"]
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(slot % self.gpus)
        return _Process(cell, command, environment, recipe.with_suffix(".err"))

    def _collect(self) -> None:
        """Take note of what the processes have done."""
        for slot, process in enumerate(self.slots):
            if process is None:
                continue
            cell = process.cell
            cell.record = find_asked(cell.request, self.results) or cell.record
            if process.ended():
                self.slots[slot] = None
                if cell.state == "done":
                    cell.record = find_finished(cell.request, self.results) or cell.record


class _Process:
    """One run's process."""

    def __init__(self, cell: Cell, command: list[str], environment: dict[str, str], said: Path) -> None:
        self.cell, self.said, self.started, self.stopped = cell, said, time.monotonic(), False
        cell.state, cell.error = "running", ""
        with said.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_together,
            )

    def ended(self) -> bool:
        """Whether the process is over; then its cell says how it went. One that was interrupted waits to be continued."""
        self.cell.seconds = time.monotonic() - self.started
        code = self.process.poll()
        if code is None:
            return False
        last = (self.said.read_text(encoding="utf-8", errors="replace").strip() or f"it ended with code {code}").splitlines()[-1]
        if code == 0:
            self.cell.state = "done"
        elif self.stopped or code == Interrupted.exit_code:
            self.cell.state = "waiting"
        else:
            self.cell.state, self.cell.error = "failed", last.removeprefix("error: ")
        return True

    def stop(self) -> None:
        """Ask it, once, to save its checkpoint and end."""
        if not self.stopped:
            self.stopped = True
            self.process.send_signal(signal.SIGTERM)


def _die_together() -> None:
    """In the child, on Linux: be asked to stop when the parent dies, however it dies."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """A list that is not empty once SIGINT or SIGTERM has come."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def mismatches(cells: Sequence[Cell]) -> list[str]:
    """One sentence for each finished run whose cost is not within 1 % of its budget on the budget's axis."""
    found = []
    for cell in cells:
        if cell.state != "done" or cell.record is None or not cell.record.recipe.get("budget"):
            continue
        budget = Budget.parse(cell.record.recipe["budget"])
        spent = float(cell.record.cost[budget.axis])
        if abs(spent / budget.amount - 1) > 0.01:
            found.append(
                f"{cell.record.run_id} spent {spent:.4g} {budget.axis} of {budget.amount:.4g}: an iteration is that large"
            )
    return found
