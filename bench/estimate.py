"""What a run would be and cost, without running it: the resolved recipe, the evaluation points, operations, memory and time."""

from __future__ import annotations

import statistics
import time

import torch
import yaml

from bench import environment
from bench.budget import AXES
from bench.engine import Trainer
from bench.job import Job, resolve
from bench.pairs import PairStream
from bench.recipe import Request
from bench.render.numbers import duration, quantity

_TIMED_ITERATIONS = 5


def estimate(request: Request, device_name: str) -> str:
    """A text that shows the recipe and estimates the cost from a few timed iterations; writes nothing."""
    job = resolve(request)
    device = environment.choose_device(device_name)
    lines = [
        yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False).rstrip(),
        "",
        f"run id             {job.recipe.run_id}",
    ]
    if job.budget is None:
        return "\n".join([*lines, "training           none: this method only samples"])
    environment.choose_precision(job.settings.precision, device)
    environment.choose_threads(job.teacher.denoiser)
    trainer = _trainer(job, device)
    trainer.iteration()  # measures the operations
    timings = [_timed(trainer) for _ in range(_TIMED_ITERATIONS)]
    ledger = trainer.ledger
    per_update = {
        "images": ledger.images / ledger.updates,
        "updates": 1.0,
        "flops": ledger.flops / ledger.updates,
        "seconds": statistics.median(timings),
    }
    updates = job.budget.amount / per_update[job.budget.axis] if per_update[job.budget.axis] else float("nan")
    if job.recipe.evaluation:
        points = ", ".join(quantity(p) for p in job.budget.points(job.recipe.evaluation.points))
        lines.append(f"evaluated at       {points} {job.budget.axis}")
    for axis in AXES:
        total = per_update[axis] * updates
        lines.append(f"{axis:<18} {duration(total) if axis == 'seconds' else quantity(total)}")
    lines.append(f"peak memory        {quantity(environment.peak_memory(device))}B")
    for wanted in job.method_class.requires(job.settings):
        lines.append(
            f"beside             {wanted.count:,} teacher pairs of {wanted.steps} Heun steps, made once and charged to the budget"
        )
    return "\n".join([*lines, "estimated from a few iterations; evaluation and start-up come on top."])


def _trainer(job: Job, device: torch.device) -> Trainer:
    """The real trainer; noise stands in for the teacher's pairs, which cost as much to train on."""
    assert job.budget is not None
    teacher = job.teacher.to(device)
    method = job.method_class(job.settings, teacher)
    pairs = None
    if job.method_class.requires(job.settings):
        z = torch.randn(2, *teacher.images.shape, device=device)
        labels = torch.eye(teacher.images.label_dim, device=device)[[0, 0]] if teacher.images.label_dim else None
        pairs = PairStream(z, z, labels, flops=0, seconds=0.0)
    return Trainer(method, teacher, job.budget, device, pairs)


def _timed(trainer: Trainer) -> float:
    started = time.perf_counter()
    trainer.iteration()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - started
