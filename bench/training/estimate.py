"""Estimating a run without carrying it out: the settled recipe, the evaluation points,
operations, memory and time.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench import distributed, environment
from bench.errors import UsageError
from bench.evaluation.sampling import seeded_noise
from bench.files.assets import Asset, Withheld, dry_run
from bench.plugin.dataset import InMemory
from bench.plugin.images import to_uint8
from bench.plugin.requirement import TeacherPairs
from bench.plugin.sampler import Sampler
from bench.runs.budget import AXES, Budget
from bench.runs.events import Note, Observer, ignore
from bench.runs.grid import Cost, GridEstimate, GridRun, RunEstimate, labels
from bench.runs.recipe import Request
from bench.training.execution import Execution
from bench.training.job import Job, make_job
from bench.training.pairs import PairStream, sample_measured
from bench.training.parts import parts_of, share_of
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
        note=job.hyperparameters.note,
    )


def estimate_grid(runs: Sequence[GridRun]) -> list[GridEstimate]:
    """Estimate what the runs of a grid would cost, once for all seeds; writes and downloads nothing."""
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


def images_at_once(job: Job, budget: Budget, observe: Observer = ignore) -> int | None:
    """Return how many images a device computes at once: as asked, and for ``auto`` the most that fit.

    Raises UsageError where not even one does.
    """
    if isinstance(job.request.batch_gpu, int | None):
        return job.request.batch_gpu
    trainer = _stand_in(job, budget)
    share, together = len(share_of(trainer.settings.batch)), trainer.method.together
    tried = [n for n in _probes(job, together) if n < share]
    if len(tried) < 2:
        return None  # a small network, or a small batch
    memory = [_tried(trainer, n).memory for n in tried]
    room = FILLED * environment.free_memory(job.device) - _whole_bytes(job, share) - _resident_bytes(job)
    fits = [n for n in range(together, share + 1, together) if _extrapolated(tried, memory, n) <= room]
    if not fits:
        raise UsageError(
            f"the memory of {environment.device_name(job.device)} does not hold {together} images at "
            "once; use a larger one, or --precision fp16."
        )
    # Parts of one size, so that none is mostly empty.
    chosen = -(-share // -(-share // max(fits)))
    chosen += -chosen % together
    observe(Note(f"--batch-gpu auto: {chosen} of {share} images at once, by an estimate of the memory"))
    return chosen


FILLED = 0.85
"""The part of a device's free memory that ``--batch-gpu auto`` fills: the estimate is a line through two
points.
"""


@dataclass(frozen=True)
class _Trial:
    """What iterations on a few images have taken: seconds, the peak of memory in bytes, and operations."""

    seconds: float
    memory: float
    flops: int


def _stand_in(job: Job, budget: Budget) -> Trainer:
    """Make a trainer to be measured. Noise stands in for pairs and real images, and costs as much to
    train on.
    """
    device, teacher = job.device, job.teacher.to(job.device)
    pairs = real = None
    z, labels = seeded_noise(range(2), teacher.image_spec, device)
    if job.requirements.pairs is not None:
        pairs = PairStream(z, z, labels, flops=0, seconds=0.0)
    if job.requirements.real is not None:
        noise = InMemory(to_uint8(z.cpu()), None if labels is None else labels.cpu())
        real = RealStream(noise, teacher.image_spec, 0, device)
    execution = Execution(recompute=job.request.recompute)
    trainer = Trainer(job.make_method(), teacher, budget, device, pairs, real, execution)
    trainer.steps = [replace(step, starts_at=0) for step in trainer.steps]  # as most of the run will be
    return trainer


def _probes(job: Job, together: int) -> list[int]:
    """Return the numbers of images on which a large network is tried; none for a small one."""
    large = environment.is_large(job.teacher.denoiser)
    return sorted(
        {max(n, together * (1 + i)) for i, n in enumerate(_PROBES[job.device.type])} if large else ()
    )


def _tried(trainer: Trainer, images: int) -> _Trial:
    """Measure iterations on a batch of so many images, by this process alone."""
    large = environment.is_large(trainer.teacher.denoiser)
    trainer.settings = trainer.settings.model_copy(update={"batch": images * distributed.world_size()})
    before = trainer.ledger.flops
    trainer.costs = {}
    trainer.iteration()  # the first of all measures the operations
    flops = trainer.ledger.flops - before
    seconds = statistics.median(_timed(trainer) for _ in range(1 if large else _TIMED_ITERATIONS))
    return _Trial(seconds, float(environment.peak_memory(trainer.device)), flops)


def _cost_of_an_update(job: Job, budget: Budget) -> dict[str, float]:
    """Measure one update's cost by axis, and ``memory`` in bytes.

    A large network is tried on few images: operations and time are proportional to them, memory is
    a constant and a slope up to the images that are computed at once.
    """
    at_once = images_at_once(job, budget)
    trainer = _stand_in(job, budget)
    batch = trainer.settings.batch
    parts_of(batch, at_once, trainer.method.together)  # refuses what the run would
    at_once = min(at_once or batch, batch)
    probes = [n for n in _probes(job, trainer.method.together) if n < at_once]
    tried = probes if len(probes) == 2 else [at_once]
    trials = [_tried(trainer, images) for images in tried]
    updates = sum(step.repeat for step in trainer.steps if step.network is trainer.method.generator)
    memory = _extrapolated(tried, [trial.memory for trial in trials], at_once)
    return {
        "images": float(batch),
        "updates": 1.0,
        "flops": trials[0].flops * batch / tried[0] / updates,
        # A slope would be at the mercy of one slow timing.
        "seconds": trials[-1].seconds * batch / tried[-1] / updates,
        "memory": memory * _CHECKPOINT
        + _resident_bytes(job)
        + (_whole_bytes(job, batch) if at_once < batch else 0.0),
    }


def _whole_bytes(job: Job, batch: int) -> float:
    """Count the bytes that are there once for a whole batch in parts: noise, and what the method is given."""
    tensors = 2 + 2 * (job.requirements.pairs is not None) + (job.requirements.real is not None)
    return 4.0 * tensors * batch * math.prod(job.teacher.image_spec.shape)


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
    """Measure operations and seconds of all pairs on a few, which of a large network are very few."""
    few = min(pairs.count, *(_probes(job, 1)[:1] or [50]))
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
