"""A request to stop: what the signals of a terminal and of a launcher do to a run."""

import os
import signal
import threading

import pytest

from bench.training.signals import stop_requests


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_says_so_once(number, capfd):
    with stop_requests("stopping") as stop:
        assert not stop.requested
        send(number)
        assert stop.requested
    assert capfd.readouterr().err == "stopping\n"


def test_a_launchers_sigterm_after_ctrl_c_does_not_stop_at_once(capfd):
    with stop_requests("stopping") as stop:
        send(signal.SIGINT)
        send(signal.SIGTERM)  # would end this process, if it did what it did before
        assert stop.requested
    assert capfd.readouterr().err == "stopping\n"


def test_the_same_signal_again_does_what_it_did_before():
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with stop_requests("stopping"):
            send(signal.SIGINT)
            assert heard == []
            send(signal.SIGINT)
            assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stop_is_heard_although_nobody_reads_what_is_said(monkeypatch):
    """As after Ctrl-C in a pipe, which ends its reader too."""

    def broken(descriptor, content):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)
    with stop_requests("stopping") as stop:
        send(signal.SIGTERM)
        assert stop.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_hangs_is_stopped_by_one_signal_after_a_while(number, monkeypatch):
    """The alarm stands in for the person who asks a second time."""
    monkeypatch.setattr("bench.training.signals.GRACE_SECONDS", 0.01)
    heard = threading.Event()
    before = signal.signal(number, lambda number, frame: heard.set())
    try:
        with stop_requests("stopping"):
            send(number)
            assert heard.wait(120)  # seconds; against a hang
    finally:
        signal.signal(number, before)


def test_no_alarm_outlives_its_context(monkeypatch):
    threads = threading.active_count()
    with stop_requests("stopping") as stop:
        send(signal.SIGINT)
        assert stop.requested
        (alarm,) = (t for t in threading.enumerate() if isinstance(t, threading.Timer))
    alarm.join(120)
    assert threading.active_count() == threads


def test_no_signal_stops_a_patient_worker(capfd):
    with stop_requests("waiting", patient=True) as stop:
        for number in [signal.SIGINT, signal.SIGTERM] * 2:
            send(number)
        assert stop.requested
    assert capfd.readouterr().err == "waiting\n"


def test_signals_do_afterwards_what_they_did_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests("stopping"):
        send(signal.SIGTERM)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_another_thread_is_never_asked():
    heard = []

    def work() -> None:
        with stop_requests("stopping") as stop:
            heard.append(stop.requested)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
    assert signal.getsignal(signal.SIGINT) is before
