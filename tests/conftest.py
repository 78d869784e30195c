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
    """A trainer of a built-in method on the CPU; noise stands in for the images of pairs."""
    from bench.evaluation.sampling import seeded_noise
    from bench.runs.recipe import make_request
    from bench.training.job import make_job
    from bench.training.pairs import PairStream
    from bench.training.real_images import RealStream
    from bench.training.trainer import Trainer

    job = make_job(make_request(method=method, teacher=teacher, budget=budget, seed=seed, settings=settings))
    pairs = real = None
    if job.requirements.pairs is not None:
        z, labels = seeded_noise(range(40), job.teacher.image_spec)
        pairs = PairStream(z, z.flip(0), labels, flops=0, seconds=0.0)
    if job.requirements.real is not None:
        real = RealStream(job.requirements.real, job.teacher.image_spec, seed, torch.device("cpu"))
    torch.manual_seed(seed)
    instance = job.method_class(job.settings, job.teacher)
    return Trainer(instance, job.teacher, job.budget, torch.device("cpu"), pairs, real)


DATA_FREE = [("sid", {}), ("diff-instruct", {}), ("sim", {}), ("dmd", {"regression": 0}), ("dmd2", {"gan": 0})]
"""Trained methods under settings that need neither pairs nor real images."""

TRAINED = [
    *DATA_FREE,
    ("sida", {"generator_starts_at": 0, "adversarial_starts_at": 0}),
    ("sid2a", {"generator_starts_at": 0, "adversarial_starts_at": 0}),
    ("dmd", {}),
    ("dmd2", {}),
    ("dmd2", {"resample": [5.0, 1.0]}),
    ("f-distill", {}),
    ("kd", {}),
    ("pd", {}),
    ("cd", {}),
    ("cd", {"target_decay": 0.9}),
    ("ect", {}),
    ("scd", {}),
]
"""Every trained method, with the settings that change what it does; on digits each is ready from its first image."""
