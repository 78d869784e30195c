"""A request to stop: what the signals of a terminal and of a launcher do to a run."""

import os
import signal
import threading

import pytest

from bench.training.signals import stop_requests


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
)
def test_the_first_signal_asks_and_says_so_once(number, capfd):
    with stop_requests("stopping") as stop:
        assert not stop.requested
        send(number)
        assert stop.requested
    assert capfd.readouterr().err == "stopping\n"


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_any_second_signal_does_what_it_did_before(second):
    """A person who asks again, in whatever way, means at once."""
    heard = []
    before = signal.signal(second, lambda number, frame: heard.append(number))
    try:
        with stop_requests("stopping"):
            send(signal.SIGINT)
            assert heard == []
            send(second)
            assert heard == [second]
    finally:
        signal.signal(second, before)


def test_the_end_that_a_warning_announces_is_still_the_first_that_stops(capfd):
    with stop_requests("stopping") as stop:
        send(signal.SIGUSR1)
        assert stop.requested
        send(signal.SIGUSR1)
        send(signal.SIGTERM)  # would end this process, if it did what it did before
    assert capfd.readouterr().err == "stopping\n"


def test_in_a_slurm_job_the_end_comes_from_slurm_alone(monkeypatch, capfd):
    """It sends SIGTERM to all processes of a job, as their parent does too."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with stop_requests("stopping") as stop:
        for number in [signal.SIGTERM, signal.SIGUSR2] * 2:  # any would end this process otherwise
            send(number)
        assert stop.requested
    assert capfd.readouterr().err == "stopping\n"


def test_a_signal_that_was_ignored_stays_so():
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests("stopping") as stop:
            send(signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


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
