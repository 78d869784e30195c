"""Stopping on request: SIGINT and SIGTERM ask for it, and whoever works looks from time to time
whether they did.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopRequest:
    """A request to stop, which signals make and whoever works looks at: ``requested`` is True once
    there is one.
    """

    requested = False


@contextmanager
def stop_requests(message: str, *, patient: bool = False) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM in this context into a request to stop, and say ``message`` on stderr
    at the first.

    Each of the two signals does what it did before when it comes again; the other one, which a
    launcher sends after a person's Ctrl-C, changes nothing. To a ``patient`` worker no signal does
    more than ask. Outside the main thread, which alone hears signals, nothing is ever asked.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request_stop(number: int, frame: Any) -> None:
        if not request.requested:
            os.write(2, f"{message}\n".encode())  # which a signal handler may do
        request.requested = True
        if not patient:
            signal.signal(number, before[number])

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
