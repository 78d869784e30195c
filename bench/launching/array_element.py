"""One run as an element of a job array: what submitit carries out on the cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from types import ModuleType
from typing import Any

from bench.errors import Interrupted, UsageError
from bench.launching.local import die_together
from bench.training.signals import WARN

POLL_SECONDS = 0.3
"""Seconds between two looks at the run's process."""
HELD_SECONDS = 30.0
"""Seconds before a run that another process holds is tried again."""
SPARE_SECONDS = 20.0
"""Seconds of a warning that are left to queue the run again."""
AGAIN = {Interrupted.exit_code, *(-int(getattr(signal, name)) for name in (*WARN, "SIGTERM"))}
"""Exit codes of a run that goes on later: held, or stopped by a signal."""


class Element:
    """Starts the command of a run, and on Slurm's warning has it save its checkpoint and be queued again."""

    process: subprocess.Popen[bytes] | None = None

    def __init__(self, warning_seconds: int) -> None:
        self.warning_seconds = warning_seconds

    def __call__(self, command: list[str]) -> int:
        """Carry out the command and return its exit code."""
        submitit = require_submitit()
        if submitit.JobEnvironment().num_tasks > 1:
            submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        while True:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_together)
            while (code := self.process.poll()) is None:
                time.sleep(POLL_SECONDS)
            if code not in AGAIN:
                return code
            time.sleep(HELD_SECONDS)

    def checkpoint(self, command: list[str]) -> Any:
        """Have the run save its checkpoint, and return what submitit queues again.

        A signal's handler calls this, amid a ``poll`` perhaps, so that it must look for itself.
        """
        limit = time.monotonic() + max(self.warning_seconds - SPARE_SECONDS, POLL_SECONDS)
        if self.process is not None:
            with suppress(ProcessLookupError, ChildProcessError):  # it has ended
                os.kill(self.process.pid, signal.SIGUSR1)
                look = os.WEXITED | os.WNOHANG | os.WNOWAIT
                while os.waitid(os.P_PID, self.process.pid, look) is None and time.monotonic() < limit:
                    time.sleep(POLL_SECONDS)
        return require_submitit().helpers.DelayedSubmission(Element(self.warning_seconds), command)


def require_submitit() -> ModuleType:
    """Return the package submitit. Raises UsageError where it is missing."""
    try:
        import submitit  # an extra
        import submitit.helpers  # as above
    except ImportError:
        raise UsageError(
            "--launcher slurm needs submitit; pip install 'distill-bench[slurm]', or write a script with "
            "--print-sbatch."
        ) from None
    module: ModuleType = submitit
    return module
