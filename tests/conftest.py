"""Every test has its own results and cache folders, one thread, and no network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("ci", derandomize=True)  # a submission fails for what it changes, not by chance
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "runs"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    torch.set_num_threads(1)
    monkeypatch.setattr("bench.environment._ALL_THREADS", 1)  # the tests themselves are run on all of them


@pytest.fixture(autouse=True)
def _fresh_registry():
    """What a test registers does not outlive it."""
    from bench import registry

    yield
    registry._from_files.clear()
    registry._loaded_files.clear()


@pytest.fixture
def bench(monkeypatch, capsys):
    """Run the command line in this process: ``code, out, err = bench("list", "methods")``."""

    def call(*arguments: str) -> tuple[int, str, str]:
        from bench.cli import main

        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def make_trainer(method: str, teacher: str = "edm-digits", budget: str = "images=10k", seed: int = 0, **settings):
    """A trainer of a built-in method on the CPU, without pairs."""
    from bench.engine import Trainer
    from bench.job import resolve
    from bench.recipe import make_request

    job = resolve(make_request(method=method, teacher=teacher, budget=budget, seed=seed, settings=settings))
    torch.manual_seed(seed)
    instance = job.method_class(job.settings, job.teacher)
    return Trainer(instance, job.teacher, job.budget, torch.device("cpu"))


DATA_FREE = [("sid", {}), ("diff-instruct", {}), ("dmd", {"regression": 0})]
"""The three trained methods under settings that need no pairs."""
