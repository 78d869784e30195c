"""One run on several GPUs of this machine: the same command once for each, as ``torchrun`` would start it,
but with the run's own exit code and signals.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from bench.errors import Interrupted, UsageError
from bench.launching.local import die_together, visible_gpus
from bench.training.signals import stop_requests

POLL_SECONDS = 0.1
"""Seconds between two looks at the processes."""
LEFT_SECONDS = 30.0
"""Time for the others to end once one of them has: without it they can do nothing more."""


def require_gpus(count: int, device: str) -> None:
    """Raise UsageError for more GPUs than there are."""
    gpus = visible_gpus(device)
    if len(gpus) < count:
        raise UsageError(
            f"--gpus {count} on a machine where torch sees {len(gpus)} (--device {device}); give a smaller "
            "number, or several machines by torchrun."
        )


def run_together(command: Sequence[str], count: int, environment: dict[str, str]) -> int:
    """Carry out a command in ``count`` processes that work together, and return their exit code.

    A signal that stops this process goes to all of them, and so does every further one. Where one fails,
    the others are ended too.
    """
    # The processes meet at a store of this one, as at that of torchrun: nobody else can take its port.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    together = environment | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    with stop_requests("stopping all processes, with the checkpoint saved", patient=True) as stop:
        processes = [
            subprocess.Popen(
                command,
                env=together | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                start_new_session=True,  # Ctrl-C comes from here, once
                preexec_fn=die_together,
            )
            for rank in range(count)
        ]
        asked, left = 0, float("inf")
        try:
            while any(process.poll() is None for process in processes):
                if stop.times > asked:
                    asked = stop.times
                    _signal(processes, signal.SIGTERM)
                if any(process.poll() not in (None, 0, Interrupted.exit_code) for process in processes):
                    left = min(left, time.monotonic() + LEFT_SECONDS)
                if time.monotonic() > left:
                    _signal(processes, signal.SIGKILL)
                time.sleep(POLL_SECONDS)
        finally:
            _signal(processes, signal.SIGKILL)
    codes = [process.returncode for process in processes]
    return next((code for code in codes if code > 0), 1 if any(codes) else 0)


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        if process.poll() is None:
            os.kill(process.pid, number)
