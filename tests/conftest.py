"""Every test has its own results and cache folders, one thread, and no network."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest
import torch

# No example has to be quick: how long one takes says more about what else the machine does than about the code.
UNHURRIED = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", **UNHURRIED)
hypothesis.settings.register_profile(
    "ci", **UNHURRIED, derandomize=True
)  # it fails for a change, never by chance
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


# The background jobs of a script begin without the one, what nohup starts without the other; the tests send both.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "runs"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    torch.set_num_threads(1)
    monkeypatch.setattr(
        "bench.environment._ALL_THREADS", 1
    )  # the tests themselves are run on all of them


@pytest.fixture(autouse=True)
def _fresh_registry():
    """What a test registers does not outlive it."""
    from bench import registry

    yield
    registry._from_files.clear()
    registry._loaded_files.clear()


@pytest.fixture
def bench(monkeypatch, capsys):
    """The command line in this process: ``code, out, err = bench("list", "methods")``."""
    from tests.helpers.command_line import CommandLine

    return CommandLine(monkeypatch, capsys)
