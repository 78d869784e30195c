"""Standard output is for results alone: what plugins and libraries print on the way goes to stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what is printed in this context, by Python or by what lies below it, or by a process
    that is started meanwhile.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        try:
            stdout = os.dup(1)
        except OSError:  # it is closed
            yield
            return
        try:
            with suppress(OSError):
                os.dup2(2, 1)
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
