"""Estimating a run without carrying it out: the settled recipe, the evaluation points,
operations, memory and time.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import environment
from bench.errors import UsageError
from bench.evaluation.sampling import seeded_noise
from bench.files.assets import Asset, Withheld, dry_run
from bench.plugin.dataset import InMemory
from bench.plugin.images import to_uint8
from bench.plugin.method import TeacherPairs
from bench.plugin.sampler import Sampler
from bench.runs.budget import AXES, Budget
from bench.runs.grid import Cost, GridEstimate, GridRun, RunEstimate, grid_runs, labels
from bench.runs.recipe import Request
from bench.training.job import Job, make_job
from bench.training.pairs import PairStream, sample_measured
from bench.training.real_images import RESIDENT_BYTES, RealStream
from bench.training.trainer import Trainer

_TIMED_ITERATIONS = 5
_CHECKPOINT = 1.05
"""Share of memory that writing the training state adds, with a margin: 1 to 3 % with 56M parameters."""
_PROBES = {"cpu": (1, 3), "cuda": (16, 32)}
"""Images on which a large network is tried."""


def estimate_run(request: Request) -> RunEstimate:
    """Estimate a run's cost from a few timed iterations; writes and downloads nothing."""
    job, cost, missing = _try_out(request)
    initial, pairs = job.requirements.initial_generator, job.requirements.pairs
    return RunEstimate(
        recipe=job.recipe,
        budget=job.budget,
        cost=cost,
        initial_generator_flops=initial.flops if initial is not None else None,
        pairs=(pairs.count, pairs.steps) if pairs is not None else None,
        missing=missing,
    )


def estimate_grid(requests: Sequence[Request], results: Path) -> list[GridEstimate]:
    """Estimate what the runs of a grid would cost, once for all seeds; writes and downloads nothing."""
    runs = grid_runs(requests, results)
    alike: dict[str, list[GridRun]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        alike.setdefault(label, []).append(run)
    estimates = []
    for label, group in alike.items():
        job, cost, missing = _try_out(group[0].request)
        done = sum(run.state == "done" for run in group)
        estimates.append(GridEstimate(label, len(group), done, job.budget, cost, missing))
    return estimates


def _try_out(request: Request) -> tuple[Job, Cost | None, list[Asset]]:
    """Make a job without any download, estimate its cost if it trains, and list the files that it lacks.

    Where weights are not at hand, random ones of the same architecture cost the same. Raises UsageError
    where the architecture is in a file that is not at hand.
    """
    with dry_run() as missing:
        try:
            job = make_job(request)
            return job, _estimate(job, job.budget) if job.budget else None, missing
        except Withheld as error:
            raise UsageError(
                f"{error}; without it the cost of {request.method} on {request.teacher} is not known: "
                f"`bench fetch teacher:{request.teacher} method:{request.method}` gets what it needs."
            ) from None


def _estimate(job: Job, budget: Budget) -> Cost:
    """Estimate a run's cost. Raises UsageError if the budget's axis does not move with the updates."""
    environment.set_precision(job.settings.precision)
    environment.choose_threads(job.teacher.denoiser)
    before = {"flops": 0.0, "seconds": 0.0}
    if (initial := job.requirements.initial_generator) is not None:
        before = {"flops": float(initial.flops), "seconds": initial.seconds}
    if (pairs := job.requirements.pairs) is not None:
        flops, seconds = _cost_of_pairs(job, pairs)
        before = {"flops": before["flops"] + flops, "seconds": before["seconds"] + seconds}
    update = _cost_of_an_update(job, budget)
    if not update[budget.axis]:
        raise UsageError(
            f"an update of {job.recipe.method!r} counts no {budget.axis} here; give --budget images=N."
        )
    updates = max(budget.amount - before.get(budget.axis, 0.0), 0.0) / update[budget.axis]
    totals = {axis: update[axis] * updates + before.get(axis, 0.0) for axis in AXES}
    return Cost(totals, before, update["memory"])


def _cost_of_an_update(job: Job, budget: Budget) -> dict[str, float]:
    """Measure one update's cost by axis, and ``memory`` in bytes.

    Noise stands in for pairs and real images, and costs as much to train on.

    A large network is tried on few images: operations and time are proportional to them, memory is
    a constant and a slope.
    """
    device, teacher = job.device, job.teacher.to(job.device)
    pairs = real = None
    z, labels = seeded_noise(range(2), teacher.image_spec, device)
    if job.requirements.pairs is not None:
        pairs = PairStream(z, z, labels, flops=0, seconds=0.0)
    if job.requirements.real is not None:
        noise = InMemory(to_uint8(z.cpu()), None if labels is None else labels.cpu())
        real = RealStream(noise, teacher.image_spec, 0, device)
    trainer = Trainer(job.make_method(), teacher, budget, device, pairs, real)
    trainer.steps = [replace(step, starts_at=0) for step in trainer.steps]  # as most of the run will be
    batch = trainer.settings.batch
    large = environment.is_large(teacher.denoiser)
    tried = [n for n in _PROBES[device.type] if n < batch] if large else []
    tried = tried if len(tried) == 2 else [batch]
    seconds, memory, flops = [], [], 0
    for images in tried:
        trainer.settings = trainer.settings.model_copy(update={"batch": images})
        trainer.iteration()  # the first of all measures the operations
        flops = flops or trainer.ledger.flops
        seconds.append(
            statistics.median(_timed(trainer) for _ in range(2 if large else _TIMED_ITERATIONS))
        )
        memory.append(float(environment.peak_memory(device)))
    updates = sum(step.repeat for step in trainer.steps if step.network is trainer.method.generator)
    return {
        "images": float(batch),
        "updates": 1.0,
        "flops": flops * batch / tried[0] / updates,
        # A slope would be at the mercy of one slow timing.
        "seconds": seconds[-1] * batch / tried[-1] / updates,
        "memory": _extrapolated(tried, memory, batch) * _CHECKPOINT + _resident_bytes(job),
    }


def _resident_bytes(job: Job) -> float:
    """Count the bytes of pairs and real images that are kept in memory throughout."""
    pixels = math.prod(job.teacher.image_spec.shape)
    pairs = 8 * pixels * job.requirements.pairs.count if job.requirements.pairs is not None else 0
    real = pixels * len(job.requirements.real) if job.requirements.real is not None else 0
    on_device = [size for size in (pairs, real) if size <= RESIDENT_BYTES]
    return float(
        sum(on_device) if job.device.type == "cuda" else pairs + (real if real <= RESIDENT_BYTES else 0)
    )


def _extrapolated(at: list[int], values: list[float], to: int) -> float:
    """The value at ``to`` on the rising line through two points; that of the one point if there is
    only one.
    """
    if len(at) == 1:
        return values[0]
    return values[1] + max(values[1] - values[0], 0.0) / (at[1] - at[0]) * (to - at[1])


def _cost_of_pairs(job: Job, pairs: TeacherPairs) -> tuple[float, float]:
    """Measure operations and seconds of all pairs, on one small batch."""
    few = min(pairs.count, 50)
    teacher = job.teacher.to(job.device)
    z, labels = seeded_noise(range(few), teacher.image_spec, job.device)
    _, flops = sample_measured(teacher, z, labels, pairs.steps)  # and gets everything ready
    started = time.perf_counter()
    teacher.sample(z, labels, Sampler(pairs.steps))
    return flops * pairs.count / few, (time.perf_counter() - started) * pairs.count / few


def _timed(trainer: Trainer) -> float:
    started = time.perf_counter()
    trainer.iteration()
    trainer.synchronise()
    return time.perf_counter() - started
