"""The small runs that suffer the faults, and all that has to be equal of two of them."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from bench.api import carry_out
from bench.evaluation.evaluator import Evaluator
from bench.files.atomic import sha256
from bench.files.tensors import load_tensors, tensors_digest
from bench.runs.folder import RunFolder
from bench.runs.recipe import Request, make_request
from bench.training import checkpoint, loop
from bench.training.job import make_job
from benchmarks.faults.children import Child, Ended

METHODS: dict[str, dict[str, Any]] = {
    "sid": {},
    "dmd": {"pairs": 40, "pair_steps": 2},
    "dmd2": {},
    "cd": {},
    "pd": {"first_steps": 4},
    "f-distill": {},
}
"""Methods and the settings that make their runs small."""
CLOCK = {"seconds", "peak_memory_bytes"}
"""What no two runs share."""


def request_of(method: str, seed: int = 0, **fields: Any) -> Request:
    """A run of a few updates on digits, evaluated three times from a few images."""
    small = {"budget": "updates=24", "eval_samples": 64, "eval_repeats": 1, "eval_points": 3, "keep": 2}
    return make_request(
        method=method,
        teacher="edm-digits",
        seed=seed,
        settings={"batch": 16} | METHODS[method],
        **small | fields,
    )


def prepare() -> None:
    """Import and read all that runs need, so that no child has to, and let them save after every update
    and log every fourth.
    """
    checkpoint.SECONDS, checkpoint.SHARE, loop.LOG_EVERY = 0.0, 1e9, 4
    import_module("torch._dynamo")  # which every run imports, in seconds
    torch.set_num_threads(1)
    for method in METHODS:
        job = make_job(request_of(method))
        assert job.evaluation is not None
        Evaluator(job.evaluation, job.device)


def run_in(place: Path, request: Request, *, fresh: bool = False) -> str:
    """Carry out a run whose results and cache lie in ``place``."""
    os.environ["BENCH_CACHE"] = str(place / "cache")
    carry_out(request, place / "results", fresh=fresh)
    return ""


def child_run(place: Path, request: Request, *, fresh: bool = False) -> Ended:
    """Do the same in a child."""
    return Child(lambda: run_in(place, request, fresh=fresh)).end()


def folder_in(place: Path) -> RunFolder:
    """The folder of the one run in ``place``."""
    (path,) = (place / "results").iterdir()
    return RunFolder(path)


def facts(place: Path) -> dict[str, Any]:
    """All that has to be equal of two finished runs of one request."""
    folder = folder_in(place)
    record = folder.read_record()
    assert record is not None
    written = record.model_dump(
        include={"status", "error", "evaluations", "final", "best", "beginning", "nfe", "recipe", "cost"}
    )
    curve = folder.path / "metrics.jsonl"
    lines = curve.read_text().splitlines() if curve.exists() else []
    return without_clock(written) | {
        "weights by the record": record.checkpoint.tensors_sha256,
        "weights": digest_of(folder.weights),
        "best weights": digest_of(folder.best_weights),
        "curve": without_clock([json.loads(line) for line in lines]),
        "samples": [sha256(file) for file in sorted(folder.samples.iterdir())],
        "files": sorted(str(f.relative_to(place / "results")) for f in folder.path.rglob("*")),
        "litter": [str(f.relative_to(place)) for f in place.rglob("*.tmp")],
        "changed since": folder.changed_files(),
    }


def without_clock(value: Any) -> Any:
    """Plain data without what depends on the machine's speed and memory."""
    if isinstance(value, dict):
        return {key: without_clock(each) for key, each in value.items() if key not in CLOCK}
    return [without_clock(each) for each in value] if isinstance(value, list) else value


def digest_of(weights: Path) -> str | None:
    """The digest of the weights in a file; None if there is none."""
    return tensors_digest(load_tensors(weights)[0]) if weights.exists() else None


def differences(found: dict[str, Any], straight: dict[str, Any]) -> list[str]:
    """Say in what a run differs from the one that nothing happened to."""
    return [
        f"{name}: {str(found[name])[:300]}, expected {str(straight[name])[:300]}"
        for name in straight
        if found[name] != straight[name]
    ]
