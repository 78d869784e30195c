"""Runs in child processes forked from one that has torch already, so that hundreds of them may die."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from bench.errors import BenchError

TRACEBACK = 70
"""Exit code of a child in which something was raised that is no sentence."""
HANGS = 600
"""Seconds after which a child is taken to hang, and killed by SIGALRM."""


class Ended(NamedTuple):
    """How a child came to its end."""

    code: int
    """Its exit code, or the negative number of the signal that killed it."""
    said: str
    """What its work returned, or the sentence or traceback that it ended with."""

    @property
    def killed(self) -> bool:
        """True if ``kill -9`` has ended it."""
        return self.code == -signal.SIGKILL

    @property
    def refused(self) -> bool:
        """True if it ended in a sentence with the exit code of one."""
        return self.code in (1, 2) and self.said.rstrip().endswith(".") and "\n" not in self.said


class Child:
    """A forked child at work. The parent must never have computed a gradient, which torch does not
    survive.
    """

    def __init__(self, work: Callable[[], str]) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read)
            _work(work, write)
        os.close(write)
        self._said = read

    def end(self, kill_after: float | None = None) -> Ended:
        """Wait for its end, or kill it after so many seconds."""
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(self.pid, signal.SIGKILL)
        with os.fdopen(self._said, "rb") as pipe:
            said = pipe.read().decode()
        return Ended(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), said)


def _work(work: Callable[[], str], write: int) -> None:
    """Do the child's work, say how it ended, and leave without the parent's clean-up."""
    signal.alarm(HANGS)
    try:
        code, said = 0, work()
    except BenchError as error:
        code, said = error.exit_code, str(error)
    except BaseException:
        code, said = TRACEBACK, traceback.format_exc()
    try:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(said.encode())
    finally:  # though the parent may be gone
        os._exit(code)
