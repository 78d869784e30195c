"""Waiting for events, which come as late as a busy machine lets them: nothing here depends on how
long it takes.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

HANGS = 600.0
"""Seconds after which something is taken to hang; nothing that works comes near it, however busy
the machine is.
"""


def wait_until(
    happened: Callable[[], object], what: str, process: subprocess.Popen | None = None
) -> None:
    """Wait for something to have happened; fail if it hangs, or if the process that should make it
    happen has ended.
    """
    limit = time.monotonic() + HANGS
    while not happened():
        if process is not None and process.poll() is not None and not happened():
            raise AssertionError(
                f"the process ended with {process.returncode} before {what}: {process.communicate()}"
            )
        assert time.monotonic() < limit, f"hangs before {what}"
        time.sleep(0.02)


class Clock:
    """A clock that moves only when it is told to, or by ``step`` whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 1000.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now
