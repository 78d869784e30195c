"""Stopping on request: signals ask for it, and whoever works looks from time to time whether they did."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

GRACE_SECONDS = 300.0
"""Time for the update or the checkpoint at hand to end once a stop is asked for."""
STOP = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that stop: Ctrl-C, the end of a process, and a terminal that is closed."""
WARN = ("SIGUSR1", "SIGUSR2")
"""Signals that say that one of those will come: Slurm's, before a time limit."""


def _warnings() -> tuple[str, ...]:
    """List the signals that only ask.

    SIGTERM is one in a Slurm job: Slurm sends it to every process of the job, beside the warning or again,
    and ends the job itself by SIGKILL.
    """
    return (*WARN, "SIGTERM") if "SLURM_JOB_ID" in os.environ else WARN


class StopRequest:
    """A request to stop, which signals make and whoever works looks at: ``requested`` is True once
    there is one.
    """

    times = 0
    """Signals that have come."""

    @property
    def requested(self) -> bool:
        return self.times > 0


@contextmanager
def stop_requests(message: str, *, patient: bool = False) -> Iterator[StopRequest]:
    """Turn the signals ``STOP`` and ``WARN`` in this context into a request to stop, and say ``message``
    on stderr at the first.

    After the first that stops each of them does what it did before, so that any second one stops at once;
    and the first comes again by itself if the context does not end within ``GRACE_SECONDS``: what hangs is
    stopped too. A warning only asks, and to a ``patient`` worker no signal does more. SIGHUP stays ignored
    where ``nohup`` has it so; SIGINT, which a script's background jobs ignore, is heard. Outside the main
    thread, which alone hears signals, nothing is ever asked.
    """
    request = StopRequest()
    alarms: list[threading.Timer] = []
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    asking = [int(getattr(signal, name)) for name in (*STOP, *WARN)]
    warnings = _warnings()
    before = {n: signal.getsignal(n) for n in asking}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]

    def request_stop(number: int, frame: Any) -> None:
        first = not request.requested
        request.times += 1
        if first:
            with suppress(OSError):  # whoever read it may have been stopped by the same signal
                os.write(2, f"{message}\n".encode())  # which a signal handler may do
        if not patient and signal.Signals(number).name not in warnings:
            restore()
            alarms.append(threading.Timer(GRACE_SECONDS, os.kill, (os.getpid(), number)))
            alarms[-1].daemon = True
            alarms[-1].start()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield request
    finally:
        for alarm in alarms:
            alarm.cancel()
        restore()
