"""Carrying out a grid of runs: each in a process of its own, several at a time; finished ones are
reused.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.environment import cores
from bench.errors import Interrupted, UsageError
from bench.files.documents import dump_yaml
from bench.runs.events import GridProgress, Observer, ignore
from bench.runs.grid import GridRun
from bench.runs.recipe import Request
from bench.runs.record import Record
from bench.runs.store import find_asked
from bench.training.signals import StopRequest, stop_requests

POLL_SECONDS = 0.3
"""Seconds between two looks at the processes."""
RECORD_SECONDS = 3.0
"""Seconds between two looks at the records of the runs at work."""
HELD_SECONDS = 5.0
"""Seconds before a run that another process holds is tried again."""


# Bound here, as it is too late after a fork.
_prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


def die_together() -> None:
    """In the child, on Linux: be asked to stop when the parent dies, however it dies."""
    if _prctl is not None:
        _prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def run_command(request: Request, recipe: str, results: Path) -> list[str]:
    """Return the command that carries out one run of a grid, of which ``recipe`` is the file."""
    # -P: nothing in the working directory stands in for a module of Python or of the suite.
    command = [sys.executable, "-P", "-m", "bench", "run", "--recipe", recipe]
    return [*command, "--results", str(results), "--device", request.device, "--no-teacher"]


def why_failed(messages: str, code: int) -> str:
    """Find the sentence by which a run that has ended with ``code`` says why, in what it said on stderr."""
    lines = messages.strip().splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"it ended with code {code} before it was done"])[-1]


def repeated_by(error: str, record: Record | None, results: Path) -> str:
    """The sentence of a failed run, with the command that shows where: of the recipe in the run's folder, as
    the launcher's own goes away.
    """
    sentence, command, _ = error.partition("; `bench --debug run")
    if not command or record is None:
        return sentence + "." * bool(command)
    recipe = results / record.run_id / "recipe.yaml"
    command = shlex.join(["bench", "--debug", "run", "--recipe", str(recipe), "--results", str(results)])
    return f"{sentence}; `{command}` shows where."


class _Process:
    """One run's process, its messages, and the record that it writes at its end."""

    def __init__(
        self, run: GridRun, command: list[str], environment: dict[str, str], recipe: Path
    ) -> None:
        self.run, self.started, self.stopped = run, time.monotonic(), False
        self.messages, self.record = recipe.with_suffix(".err"), recipe.with_suffix(".json")
        run.state, run.error = "running", ""
        with self.messages.open("wb") as messages:
            self.process = subprocess.Popen(
                [*command, "--record", str(self.record)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a plugin may print
                stderr=messages,
                start_new_session=True,  # Ctrl-C comes from here, once
                preexec_fn=die_together,
            )

    def has_ended(self) -> bool:
        """Tell whether the process is over; then its run says how it went. One interrupted or held
        waits to go on.
        """
        self.run.seconds = time.monotonic() - self.started
        code = self.process.poll()
        if code is None:
            return False
        if code == 0 and self.record.exists():
            self.run.state, self.run.record = (
                "done",
                Record.model_validate_json(self.record.read_bytes()),
            )
        elif self.stopped or code == Interrupted.exit_code:
            self.run.state, self.run.not_before = "waiting", time.monotonic() + HELD_SECONDS
        else:
            messages = self.messages.read_text(encoding="utf-8", errors="replace")
            self.run.state, self.run.error = "failed", why_failed(messages, code)
        return True

    def stop(self) -> None:
        """Ask it, once, to save its checkpoint and end."""
        if not self.stopped:
            self.stopped = True
            self.process.send_signal(signal.SIGTERM)


class Launcher:
    """Carries out the waiting runs of a grid, ``processes`` at a time; one that fails is noted, and
    the others go on.

    Each process has an equal share of the processor's threads and, if there are any, ``gpus_per_run`` of
    the ``gpus``, named as in CUDA_VISIBLE_DEVICES.
    """

    def __init__(
        self,
        runs: list[GridRun],
        results: Path,
        processes: int,
        gpus: Sequence[str] = (),
        gpus_per_run: int = 1,
    ) -> None:
        self.runs, self.results, self.gpus, self.gpus_per_run = runs, results, gpus, gpus_per_run
        self.slots: list[_Process | None] = [None] * processes
        self.threads = max(1, cores() // processes)
        self.looked = 0.0

    def carry_out(self, observe: Observer = ignore) -> None:
        """Run all.

        Raises Interrupted after SIGINT or SIGTERM, when every process has saved its checkpoint. If
        this process is killed, the others save theirs and end (on Linux).
        """
        with (
            tempfile.TemporaryDirectory() as scratch,
            stop_requests("stopping every run, with its checkpoint saved", patient=True) as stop,
        ):
            try:
                while self._step(stop, Path(scratch)):
                    observe(GridProgress(self.runs))
                    time.sleep(POLL_SECONDS)
                observe(GridProgress(self.runs))
            finally:  # whatever went wrong here, no run is left behind
                for process in filter(None, self.slots):
                    process.stop()
                    process.process.wait()
            if stop.requested:
                raise Interrupted("stopped with every checkpoint saved; the same command continues.")

    def _step(self, stop: StopRequest, scratch: Path) -> bool:
        """Take note of processes that have ended and start others in their place. Tells whether
        there is more to do.
        """
        self._collect()
        waiting = [run for run in self.runs if run.state == "waiting"]
        ready = [run for run in waiting if run.not_before <= time.monotonic()]
        for slot, process in enumerate(self.slots):
            if process is None and ready and not stop.requested:
                self.slots[slot] = self._start(ready.pop(0), slot, scratch)
            elif process is not None and stop.requested:
                process.stop()
        return any(self.slots) or bool(waiting and not stop.requested)

    def _start(self, run: GridRun, slot: int, scratch: Path) -> _Process:
        recipe = scratch / f"{len(list(scratch.iterdir()))}.yaml"
        request = run.request.model_dump(exclude={"device"}, exclude_none=True)
        recipe.write_text(dump_yaml(request), encoding="utf-8")
        command = run_command(run.request, str(recipe), self.results)
        # A notebook's backend for figures belongs to its kernel, and may not be there for a run.
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "MPLBACKEND": "agg"}
        if self.gpus:
            first, n = slot * self.gpus_per_run, len(self.gpus)
            own = [self.gpus[(first + i) % n] for i in range(self.gpus_per_run)]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        if self.gpus_per_run > 1:
            command += ["--gpus", str(self.gpus_per_run)]
        return _Process(run, command, environment, recipe)

    def _collect(self) -> None:
        look = time.monotonic() - self.looked > RECORD_SECONDS
        self.looked = time.monotonic() if look else self.looked
        for slot, process in enumerate(self.slots):
            if process is None:
                continue
            if process.has_ended():
                self.slots[slot] = None
            if process.run.state == "failed" or (look and process.run.state == "running"):
                process.run.record = find_asked(process.run.request, self.results) or process.run.record
            if process.run.state == "failed":
                process.run.error = repeated_by(process.run.error, process.run.record, self.results)


def visible_gpus(device: str) -> list[str]:
    """Name the GPUs that runs on ``device`` may be given, one each, as CUDA_VISIBLE_DEVICES does.

    Raises UsageError for one GPU such as ``cuda:1``, which would mean another one in each of the processes.
    """
    if device == "cpu" or not (count := torch.cuda.device_count()):
        return []
    if device.startswith("cuda:"):
        raise UsageError(
            f"--device {device} names one GPU, and each process gets its own; set CUDA_VISIBLE_DEVICES "
            "instead."
        )
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[:count] or [str(number) for number in range(count)]


def runs_at_once(gpus: Sequence[str], gpus_per_run: int = 1) -> int:
    """Choose how many runs work at a time: as many as have GPUs, or without GPUs one a core.

    Raises UsageError for more GPUs a run than there are.
    """
    if gpus_per_run > max(len(gpus), 1):
        raise UsageError(
            f"--gpus {gpus_per_run} for each run, torch sees {len(gpus)}; give a smaller number."
        )
    return len(gpus) // gpus_per_run or cores()
