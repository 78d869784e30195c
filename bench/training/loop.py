"""The training of a run: prepare, continue, and spend the budget, with evaluations and checkpoints
on the way.
"""

import time
from pathlib import Path

import torch

from bench import distributed
from bench.errors import BenchError, Diverged, Interrupted, UsageError
from bench.evaluation.sampling import seeded_noise
from bench.files.atomic import sha256
from bench.files.tensors import load_weights, save_sealed, tensors_digest
from bench.plugin.method import Method
from bench.runs.budget import AXES, Budget
from bench.runs.events import Event, Logged, Note, Observer, Training, Working
from bench.runs.folder import RunFolder
from bench.runs.record import Beginning, Record, WeightsFile
from bench.training.checkpoint import Checkpoint
from bench.training.estimate import images_at_once
from bench.training.execution import Execution
from bench.training.job import Job
from bench.training.pairs import PairStream, sample_measured, teacher_pairs
from bench.training.real_images import RealStream
from bench.training.recorder import Recorder
from bench.training.signals import StopRequest
from bench.training.steps import checked_steps
from bench.training.trainer import Trainer
from bench.units import quantity

MOST_ROLLBACKS = 5
"""Times that a run goes back to a checkpoint before it fails."""
FIRST_UPDATES = 20
"""Updates after which the weights are digested, so that ``bench verify`` can repeat as many and compare."""
LOG_EVERY = 50
"""Updates between two lines of the training curve."""
PROGRESS_SECONDS = 0.5
"""Least seconds between two reports of progress."""


def train(
    job: Job, budget: Budget, folder: RunFolder, record: Record, observe: Observer, stop: StopRequest
) -> None:
    """Train a job's method until its budget is spent, and complete the record.

    Where the recipe says so, a training that diverges is taken up again from its last checkpoint. Raises
    Interrupted, with a checkpoint saved, once a stop is asked for; BenchError for training that can come to
    nothing.
    """
    while True:
        try:
            return train_once(job, budget, folder, record, observe, stop)
        except Diverged as error:
            if job.recipe.on_divergence != "rollback" or len(record.rollbacks) >= MOST_ROLLBACKS:
                raise
            record.rollbacks.append(str(error))
        observe(Note(f"going back, with other random numbers: {record.rollbacks[-1]}"))
        folder.write_record(record)


def train_once(
    job: Job, budget: Budget, folder: RunFolder, record: Record, observe: Observer, stop: StopRequest
) -> None:
    """Train to the end of the budget. Raises Diverged for numbers that are not finite, and as ``train``."""
    # Networks first, then what is measured and made before training, which begins from the seed again.
    method = prepare_method(job, budget)
    recorder = Recorder(job, folder, record, observe, stop)
    recorder.open(method)
    trainer = prepare_trainer(job, budget, method, observe, stop)
    trainer.execution.describe(record.environment)

    # Continue from the last checkpoint.
    checkpoint = Checkpoint(trainer, recorder, job.request.keep)
    checkpoint.resume()
    record.cost = trainer.ledger
    recorder.rewind(trainer.ledger)
    pace = Pace(trainer)
    points = evaluation_points(job, budget, record)

    while True:
        # Evaluate at the budget's points; an evaluation that is interrupted loses nothing else.
        if points and trainer.ledger.spent(budget.axis) >= points[0]:
            points = [point for point in points if point > trainer.ledger.spent(budget.axis)]
            checkpoint.save()
            evaluate(trainer, recorder)
            if job.request.milestones:
                save_generator(trainer, recorder, folder.milestone(trainer.ledger.images))
            checkpoint.save()
        if trainer.fraction >= 1:
            break

        # One iteration: every step of the method. Several processes go on alike.
        seconds, values = timed_iteration(trainer)
        seconds, stopping, due = distributed.largest(seconds, stop.requested, checkpoint.is_due)
        trainer.ledger.seconds += seconds
        if not record.beginning.updates and trainer.ledger.updates >= FIRST_UPDATES:
            record.beginning = beginning_of(trainer)
            folder.write_record(record)  # before any later state, from which it could not be made
        if values:
            folder.log({axis: getattr(trainer.ledger, axis) for axis in AXES} | values)
            observe(Logged(values, trainer.ledger.updates))
        if budget.axis == "flops" and not trainer.ledger.flops:
            raise BenchError(
                f"an update of {record.method!r} counts no operations here; give --budget images=N."
            )

        # Save now and then, and before stopping.
        if stopping or due:
            checkpoint.save()
        if stopping:
            raise Interrupted(
                f"stopped after {trainer.ledger.images:,} images with the checkpoint saved; the "
                "same command continues."
            )
        if pace.is_due:
            observe(pace.progress())

    # The budget is spent: keep the averaged generator.
    checkpoint.save()
    save_generator(trainer, recorder, folder.weights)
    record.checkpoint = weights_file(folder, trainer)
    if not record.beginning.updates:  # of a short run, all of it
        record.beginning = beginning_of(trainer)
    recorder.finish(trainer.averaged())


def prepare_method(job: Job, budget: Budget) -> Method:
    """Build the method as it starts. Raises UsageError, before any work, for a budget that could
    not train it.
    """
    method = job.make_method()
    if (initial := job.requirements.initial_generator) is not None:
        load_weights(
            method.generator, initial.weights(), f"the starting generator {str(initial.file)!r}"
        )
    if budget.axis == "flops" and (pairs := job.requirements.pairs) is not None:
        few = min(2, pairs.count)  # from which the cost of all is known
        z, labels = seeded_noise(range(few), job.teacher.image_spec, job.device)
        cost = sample_measured(job.teacher, z, labels, pairs.steps)[1] * pairs.count / few
        if cost >= budget.amount:
            raise UsageError(
                f"the teacher's {pairs.count:,} pairs alone cost {quantity(cost)} FLOPs and the budget "
                f"is {quantity(budget.amount)}; give a larger --budget, or fewer --set pairs=N."
            )
    for step in checked_steps(method):
        if budget.axis == "images" and step.starts_at >= budget.amount:
            raise UsageError(
                f"the {step.role} step begins after {step.starts_at:,} images and the budget is "
                f"{budget}; give a larger --budget, or let the step begin earlier."
            )
    return method


def prepare_pairs(job: Job, observe: Observer, stop: StopRequest) -> PairStream | None:
    """Make, or take from the cache, the pairs of noise and image that the method requires."""
    if job.requirements.pairs is None:
        return None

    def observe_until_stop(event: Event) -> None:
        observe(event)
        if stop.requested and isinstance(event, Working):
            raise Interrupted(
                "stopped while the teacher made pairs; the same command continues with what there is."
            )

    return teacher_pairs(job.teacher, job.requirements.pairs, job.device, observe_until_stop)


def prepare_trainer(
    job: Job, budget: Budget, method: Method, observe: Observer, stop: StopRequest
) -> Trainer:
    """Make the trainer as it is before the first update, with what comes before training charged to it."""
    pairs = prepare_pairs(job, observe, stop)
    real = None
    if (dataset := job.requirements.real) is not None:
        real = RealStream(dataset, job.teacher.image_spec, job.recipe.seed, job.device)
    asked = job.request
    execution = Execution(
        images_at_once(job, budget, observe),
        asked.capture,
        asked.recompute,
        asked.compile,
        asked.channels_last,
    )
    torch.manual_seed(job.recipe.seed)
    trainer = Trainer(
        method,
        job.teacher,
        budget,
        job.device,
        pairs,
        real,
        execution,
        skip=job.recipe.on_divergence == "skip",
    )
    charge_initial_generator(job, trainer)
    one_off = trainer.ledger.one_off  # measured by each process, or found in its cache
    trainer.ledger.seconds, one_off.seconds = distributed.of_main(
        [trainer.ledger.seconds, one_off.seconds]
    )
    return trainer


def charge_initial_generator(job: Job, trainer: Trainer) -> None:
    """Charge what comes before training.

    Raises BenchError if that is the whole budget: in seconds, or by a generator to start from, this
    cannot be foreseen as for pairs.
    """
    if (initial := job.requirements.initial_generator) is not None:
        trainer.ledger.charge_one_off(initial.flops, initial.seconds)
    if trainer.fraction >= 1:
        raise BenchError(
            "what comes before training alone costs "
            f"{trainer.ledger.spent(trainer.budget.axis):.3g} of the budget {trainer.budget}; "
            "give a larger --budget, or fewer --set pairs=N."
        )


def evaluation_points(job: Job, budget: Budget, record: Record) -> list[float]:
    """List the points of the budget's axis at which the run is still to be evaluated."""
    if job.recipe.evaluation is None:
        return []
    measured = max((getattr(e, budget.axis) for e in record.evaluations), default=-1.0)
    return [point for point in budget.points(job.recipe.evaluation.points) if point > measured]


def evaluate(trainer: Trainer, recorder: Recorder) -> None:
    """Evaluate the averaged generator, and keep its weights where it is the best so far on the way."""
    last = trainer.fraction >= 1
    best = recorder.evaluate(trainer.averaged(), trainer.ledger, last=last)
    if best is recorder.record.evaluations[-1] and not last:
        save_generator(trainer, recorder, recorder.folder.best_weights)


def weights_file(folder: RunFolder, trainer: Trainer) -> WeightsFile:
    """State what is in the file of the finished generator's weights."""
    distributed.wait_for_all()
    return WeightsFile(
        path=str(folder.weights.relative_to(folder.path)),
        sha256=sha256(folder.weights),
        tensors_sha256=tensors_digest(trainer.averaged().generator.state_dict()),
    )


def save_generator(trainer: Trainer, recorder: Recorder, file: Path) -> None:
    """Write the averaged generator's weights with the recipe that made them, and what it has cost.

    Raises Diverged for weights that are not finite, which make no image.
    """
    weights = trainer.averaged().generator.state_dict()
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise Diverged(
            "training diverged: the generator's weights are not finite after "
            f"{trainer.ledger.images:,} images; give smaller learning rates by --set."
        )
    meta = {
        "run_id": recorder.record.run_id,
        "images": trainer.ledger.images,
        "stage": trainer.stage,
        "cost": {"flops": trainer.ledger.flops, "seconds": trainer.ledger.seconds},
        "recipe": recorder.record.recipe.as_given(),
    }
    if distributed.is_main():
        save_sealed(file, weights, meta)


def beginning_of(trainer: Trainer) -> Beginning:
    """Digest the generator that is trained, not its average, as it is now."""
    weights = trainer.method.generator.state_dict()
    return Beginning(updates=trainer.ledger.updates, tensors_sha256=tensors_digest(weights))


def timed_iteration(trainer: Trainer) -> tuple[float, dict[str, float]]:
    """Take one iteration; return its seconds and, now and then, the losses for the training curve, a look
    at which waits for a GPU to catch up.
    """
    started = time.perf_counter()
    trainer.iteration()
    values = trainer.curve_values() if trainer.ledger.updates % LOG_EVERY == 0 else {}
    return time.perf_counter() - started, values


class Pace:
    """The speed at which this process trains, for those who watch."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.started = self.reported = time.perf_counter()
        self.fraction, self.images, self.seconds = (
            trainer.fraction,
            trainer.ledger.images,
            trainer.ledger.seconds,
        )

    @property
    def is_due(self) -> bool:
        """True if the last report is old enough."""
        return time.perf_counter() - self.reported > PROGRESS_SECONDS

    def progress(self) -> Training:
        """Report how far training is, and when it will end at the present speed."""
        self.reported = time.perf_counter()
        ledger, fraction = self.trainer.ledger, self.trainer.fraction
        rate = (ledger.images - self.images) / (ledger.seconds - self.seconds)
        left = (self.reported - self.started) * (1 - fraction) / (fraction - self.fraction)
        return Training(min(fraction, 1.0), ledger, rate, max(left, 0.0))
