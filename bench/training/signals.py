"""Stopping on request: SIGINT and SIGTERM ask for it, and whoever works looks from time to time
whether they did.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopRequest:
    """A request to stop, which signals make and whoever works looks at: ``asked`` is True once
    there is one.
    """

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_requests(message: str) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM in this context into a request to stop, and say ``message``
    on stderr.

    The next signal does what it did before. Outside the main thread, which alone hears signals,
    nothing is ever asked.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        request.asked = True
        restore()
        os.write(2, f"{message}\n".encode())  # which a signal handler may do

    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
