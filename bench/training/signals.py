"""Stopping on request: SIGINT and SIGTERM ask for it, and whoever works looks from time to time
whether they did.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

GRACE_SECONDS = 300.0
"""Time for the update or the checkpoint at hand to end once a stop is asked for."""


class StopRequest:
    """A request to stop, which signals make and whoever works looks at: ``requested`` is True once
    there is one.
    """

    requested = False


@contextmanager
def stop_requests(message: str, *, patient: bool = False) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM in this context into a request to stop, and say ``message`` on stderr
    at the first.

    Each of the two signals does what it did before when it comes again, and comes again by itself if
    the context does not end within ``GRACE_SECONDS``: what hangs is stopped too. The other signal,
    which a launcher sends after a person's Ctrl-C, changes nothing. To a ``patient`` worker no signal
    does more than ask. Outside the main thread, which alone hears signals, nothing is ever asked.
    """
    request = StopRequest()
    alarms: list[threading.Timer] = []
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request_stop(number: int, frame: Any) -> None:
        first, request.requested = not request.requested, True
        if first:
            with suppress(OSError):  # whoever read it may have been stopped by the same signal
                os.write(2, f"{message}\n".encode())  # which a signal handler may do
        if not patient:
            signal.signal(number, before[number])
            alarms.append(threading.Timer(GRACE_SECONDS, os.kill, (os.getpid(), number)))
            alarms[-1].daemon = True
            alarms[-1].start()

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield request
    finally:
        for alarm in alarms:
            alarm.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
