"""One run from recipe to record: prepare, train, evaluate at the budget's points, checkpoint, and finish."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench import environment
from bench.errors import BenchError, Interrupted, UsageError
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.pictures import save_samples
from bench.evaluation.sampling import generate_images, seeded_noise
from bench.files.atomic import sha256
from bench.files.tensors import load_tensors, load_weights, save_tensors
from bench.plugin.method import Method, RealImages, TeacherPairs
from bench.runs.budget import AXES, Budget, Ledger
from bench.runs.events import Evaluated, Event, Finished, Note, Preparing, Progress
from bench.runs.record import (
    BestCheckpoint,
    Checkpoint,
    Environment,
    Evaluation,
    Record,
    RecordedTuning,
    UsedProtocol,
)
from bench.runs.recorded import RecordedRecipe
from bench.runs.store import RunFolder, now
from bench.training.job import Job
from bench.training.pairs import PairStream, sample_measured, teacher_pairs
from bench.training.real_images import RealStream
from bench.training.trainer import Trainer, checked_steps
from bench.units import quantity

CHECKPOINT_SECONDS = 15.0
LOG_EVERY = 50
"""Updates between two lines of the training curve."""
REPORT_SECONDS = 0.5
SAMPLES = 64
"""Images in a run's sample grids, from seeds 0 to 63 at every evaluation."""


def execute(job: Job, results: Path, *, fresh: bool = False) -> Iterator[Event]:
    """Carry out a job in its run folder: continue it where it stopped, or answer from its record if it is finished.

    Raises UsageError if another process holds the run; Interrupted after SIGINT or SIGTERM, with what was done saved;
    BenchError if the run fails. In the last two cases the record says so.
    """
    environment.set_precision(job.settings.precision)
    environment.choose_threads(job.teacher.denoiser)
    folder = RunFolder(results / job.recipe.run_id)
    with folder.locked():
        if fresh:
            folder.clear()
        previous = folder.read_record()
        if previous is not None and previous.status == "done":
            yield Finished(previous, folder, reused=True)
            return
        run = _Run(job, folder, previous)
        with run.stop_signals():
            try:
                yield from run.prepare()
                if job.budget is not None:
                    yield from run.train(job.budget)
                yield from run.finish()
            except Interrupted:
                run.close("interrupted")
                raise
            except Exception as error:
                if isinstance(error, UsageError) and folder.read_record() is None:
                    shutil.rmtree(folder.path)  # the request could not be carried out; nothing of it stays
                    raise
                run.close("failed", str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}")
                raise


class _Run:
    """A job being carried out in its folder."""

    method: Method

    def __init__(self, job: Job, folder: RunFolder, previous: Record | None) -> None:
        self.job, self.folder, self.device = job, folder, job.device
        self.plan = job.recipe.evaluation
        self.teacher = job.teacher.to(job.device)
        self.trainer: Trainer | None = None
        self.evaluator: Evaluator | None = None
        self.interrupted = False
        self.notes: list[str] = []
        requirements = job.method_class.requires(job.settings)
        self.record = Record(
            run_id=job.recipe.run_id,
            method=job.recipe.method,
            teacher=job.recipe.teacher,
            seed=job.recipe.seed,
            recipe=RecordedRecipe.model_validate(job.recipe.model_dump(mode="json")),
            recipe_hash=job.recipe.hash(),
            request=job.request.model_dump(mode="json"),
            inputs=job.inputs,
            sources=job.hyperparameters.sources,
            images=asdict(self.teacher.image_spec),
            requires=[type(r).__name__ for r in requirements],
            data_free=not any(isinstance(r, TeacherPairs | RealImages) for r in requirements),
            cost=previous.cost if previous else Ledger(),
            evaluations=previous.evaluations if previous else [],
            tuning=RecordedTuning.model_validate(job.hyperparameters.tuning),
            environment=Environment.model_validate(environment.describe(job.device, job.settings.precision)),
            started=previous.started if previous else now(),
        )

    @property
    def ledger(self) -> Ledger:
        return self.trainer.ledger if self.trainer else Ledger()

    def prepare(self) -> Iterator[Event]:
        """The networks, the evaluator, the pairs a method requires, and the checkpoint to continue from.

        Training begins from the seed again: it does not depend on how it is measured, or on what was made before it.
        """
        torch.manual_seed(self.job.recipe.seed)
        self.method = self._method()
        if self.job.evaluation is not None:
            if any(extractor.large for extractor in self.job.evaluation.extractors.values()):
                yield Note(f"loading the extractor and reference statistics of {self.job.evaluation.protocol.id}")
            self.evaluator = Evaluator(
                self.job.evaluation, self.device, interrupted=lambda: self.interrupted, note=self.notes.append
            )
            self.record.protocols = {self.evaluator.label: UsedProtocol.model_validate(self.evaluator.describe())}
        self.notes += filter(None, (self.teacher.note, self.job.hyperparameters.note))
        yield from self._told()
        self.record.nfe = self.method.nfe
        self.record.parameters = sum(p.numel() for p in self.method.generator.parameters())
        self.folder.write_recipe(self.job.recipe)
        self.folder.write_record(self.record)
        if self.job.budget is None:
            return
        pairs = yield from self._pairs()
        torch.manual_seed(self.job.recipe.seed)
        self.trainer = Trainer(self.method, self.teacher, self.job.budget, self.device, pairs, self._real_images())
        if (start := self.job.requirements.initial_generator) is not None:
            self.ledger.charge_one_off(start.flops, start.seconds)
        if self.trainer.fraction >= 1:
            raise BenchError(
                f"what comes before training alone costs {self.ledger.spent(self.job.budget.axis):.3g} of the budget "
                f"{self.job.budget}; give a larger --budget, or fewer --set pairs=N."
            )
        if self.folder.state.exists():
            self.trainer.restore(*load_tensors(self.folder.state))
            yield Note(f"continuing after {self.ledger.images:,} images")
        self.record.evaluations = [e for e in self.record.evaluations if e.updates <= self.ledger.updates]
        self.folder.rewind_log(self.ledger.updates)

    def _method(self) -> Method:
        """The method as it starts. Raises UsageError or BenchError, before any work, for one that cannot train here."""
        method = self.job.method_class(self.job.settings, self.teacher)
        if (start := self.job.requirements.initial_generator) is not None:
            load_weights(method.generator, start.weights(), f"the starting generator {str(start.file)!r}")
        budget = self.job.budget
        if budget is not None and budget.axis == "flops" and (pairs := self.job.requirements.pairs) is not None:
            few = min(2, pairs.count)
            z, labels = seeded_noise(range(few), self.teacher.image_spec)
            labels = labels if labels is None else labels.to(self.device)
            cost = sample_measured(self.teacher, z.to(self.device), labels, pairs.steps)[1] * pairs.count / few
            if cost >= budget.amount:
                amount = quantity(budget.amount)
                raise UsageError(
                    f"the teacher's {pairs.count:,} pairs alone cost {quantity(cost)} FLOPs and the budget is {amount}; give a "
                    "larger --budget, or fewer --set pairs=N."
                )
        for step in checked_steps(method) if budget is not None else ():
            if budget is not None and budget.axis == "images" and step.starts_at >= budget.amount:
                raise UsageError(
                    f"the {step.role} step begins after {step.starts_at:,} images and the budget is {budget}; give a larger "
                    "--budget, or let the step begin earlier."
                )
        return method

    def _told(self) -> Iterator[Event]:
        """What there was to say."""
        yield from map(Note, self.notes)
        self.notes.clear()

    def _pairs(self) -> Generator[Event, None, PairStream | None]:
        wanted = self.job.requirements.pairs
        if wanted is None:
            return None
        making = teacher_pairs(self.teacher, wanted, self.device)
        while True:
            try:
                made = next(making)
            except StopIteration as end:
                return end.value
            yield Preparing(f"pairs of noise and image, {wanted.steps} Heun steps each", made, wanted.count)
            if self.interrupted:
                raise Interrupted("stopped while the teacher made pairs; the same command continues with what there is.")

    def _real_images(self) -> RealStream | None:
        dataset = self.job.requirements.real
        return RealStream(dataset, self.teacher.image_spec, self.job.recipe.seed, self.device) if dataset is not None else None

    def train(self, budget: Budget) -> Iterator[Event]:
        """Spend the budget; evaluate at its points and save a checkpoint there, every few seconds, and when interrupted."""
        assert self.trainer is not None
        trainer, points = self.trainer, self._points_ahead(budget)
        started = saved = reported = time.perf_counter()
        writing = 0.0
        first, first_images, first_seconds = trainer.fraction, self.ledger.images, self.ledger.seconds
        while True:
            if points and self.ledger.spent(budget.axis) >= points[0]:
                self._checkpoint()  # an interrupted evaluation loses nothing else
                points = [p for p in points if p > self.ledger.spent(budget.axis)]
                yield self._evaluate(trainer.averaged(), last=trainer.fraction >= 1)
                yield from self._told()
                saved = self._checkpoint()
            if trainer.fraction >= 1:
                break
            self._timed_iteration(log=(self.ledger.updates + 1) % LOG_EVERY == 0)
            if budget.axis == "flops" and not self.ledger.flops:
                raise BenchError(f"an update of {self.record.method!r} counts no operations here; give --budget images=N.")
            clock = time.perf_counter()
            if self.interrupted or clock - saved > max(CHECKPOINT_SECONDS, 20 * writing):
                saved = self._checkpoint()
                writing = saved - clock  # of a large network: no more than a twentieth of the time
            if self.interrupted:
                raise Interrupted(
                    f"stopped after {self.ledger.images:,} images with the checkpoint saved; the same command continues."
                )
            if clock - reported > REPORT_SECONDS:
                reported = clock
                rate = (self.ledger.images - first_images) / (self.ledger.seconds - first_seconds)
                left = (clock - started) * (1 - trainer.fraction) / (trainer.fraction - first)
                yield Progress(min(trainer.fraction, 1.0), self.ledger, rate, max(left, 0.0))
        self._checkpoint()
        self._save_generator(self.folder.weights)
        path = self.folder.weights.relative_to(self.folder.path)
        self.record.checkpoint = Checkpoint(path=str(path), sha256=sha256(self.folder.weights))

    def finish(self) -> Iterator[Event]:
        """The final numbers, and those of the checkpoint that the curve would have chosen."""
        if self.evaluator is not None and self.job.budget is None:
            yield Note(f"sampling {self.job.recipe.teacher} with {self.method.nfe} evaluations an image")
            yield self._evaluate(self.method, last=True)
            yield from self._told()
        self.record.nfe = self.method.nfe  # of the last stage
        if self.record.evaluations:
            self.record.final = {name: m.value for name, m in self.record.evaluations[-1].metrics.items()}
            self.record.best = self._best(self.record.evaluations)
        self.close("done")
        yield Finished(self.record, self.folder)

    def close(self, status: str, error: str | None = None) -> None:
        """Write how the run ended."""
        self.record.status, self.record.error, self.record.finished = status, error, now()  # type: ignore[assignment]
        self._write_record()

    def _points_ahead(self, budget: Budget) -> list[float]:
        if self.plan is None:
            return []
        measured = max((getattr(e, budget.axis) for e in self.record.evaluations), default=-1.0)
        return [p for p in budget.points(self.plan.points) if p > measured]

    def _timed_iteration(self, *, log: bool) -> None:
        """One iteration on the training clock. The log reads the losses, which waits for a GPU to catch up."""
        assert self.trainer is not None
        started = time.perf_counter()
        self.trainer.iteration()
        losses = {name: loss.item() for name, loss in self.trainer.losses.items()} if log else {}
        scales = self.trainer.loss_scales() if log else {}
        self.ledger.seconds += time.perf_counter() - started
        if log:
            cost = {axis: getattr(self.ledger, axis) for axis in AXES}
            self.folder.log(cost | losses | {f"scale/{role}": scale for role, scale in scales.items()})

    def _let_gpu_catch_up(self) -> None:
        """A GPU lags behind its launches; the wait for it belongs to training and not to the evaluation."""
        if self.device.type == "cuda":
            started = time.perf_counter()
            torch.cuda.synchronize(self.device)
            self.ledger.seconds += time.perf_counter() - started

    def _evaluate(self, sampler: Method, *, last: bool) -> Evaluated:
        """Replicate 0 along the way; at the end replicates 1 to R, which no choice has seen."""
        assert self.evaluator is not None and self.plan is not None
        replicates = range(1, self.plan.repeats + 1) if last else [0]
        metrics = self.evaluator.measure(sampler.generate, replicates)
        first = next(iter(self.evaluator.feature_metrics))
        watched = self.evaluator.watch(sampler.generate) if last else metrics[first].value
        evaluation = Evaluation(
            images=self.ledger.images,
            updates=self.ledger.updates,
            flops=self.ledger.flops,
            seconds=self.ledger.seconds,
            samples=self.evaluator.protocol.samples,
            nfe=self.method.nfe,
            metrics=metrics,
            watched=watched,
        )
        grid = generate_images(sampler.generate, range(SAMPLES), self.teacher.image_spec, self.device)
        save_samples(grid, self.folder.samples / f"{self.ledger.images:012d}.png")
        self.record.evaluations.append(evaluation)
        best = self.evaluator.best(self.record.evaluations)
        if best is evaluation and not last:
            self._save_generator(self.folder.best_weights)
        self._write_record()
        return Evaluated(evaluation, best)

    def _best(self, history: list[Evaluation]) -> BestCheckpoint:
        """The numbers of the checkpoint with the best watched value, on the seeds of the final numbers, which it has not seen."""
        assert self.evaluator is not None and self.plan is not None
        last, best = history[-1], self.evaluator.best(history)
        metrics, selection = last.metrics, f"the last of {len(history)} evaluations"
        if best is not last and self.trainer is not None:
            tensors, meta = load_tensors(self.folder.best_weights)
            if meta["images"] == best.images:  # a crash may have left those of a later point
                sampler = self.trainer.averaged()
                load_weights(sampler.generator, tensors, str(self.folder.best_weights))
                metrics = self.evaluator.measure(sampler.generate, range(1, self.plan.repeats + 1))
                selection = f"the best of {len(history)} evaluations, measured again on fresh seeds"
                last = best
        if last is history[-1]:
            self.folder.best_weights.unlink(missing_ok=True)  # the last ones are the best
        return BestCheckpoint(**{name: m.value for name, m in metrics.items()}, images=last.images, selection=selection)

    def _save_generator(self, path: Path) -> None:
        assert self.trainer is not None
        meta = {
            "run_id": self.record.run_id,
            "images": self.ledger.images,
            "stage": self.trainer.stage,
            "cost": {"flops": self.ledger.flops, "seconds": self.ledger.seconds},
            "recipe": self.record.recipe.as_given(),
        }
        save_tensors(path, self.trainer.averaged().generator.state_dict(), meta)

    def _checkpoint(self) -> float:
        assert self.trainer is not None
        self._let_gpu_catch_up()
        save_tensors(self.folder.state, *self.trainer.state())
        self._write_record()
        return time.perf_counter()

    def _write_record(self) -> None:
        if self.trainer is not None:
            self.ledger.peak_memory_bytes = max(self.ledger.peak_memory_bytes, environment.peak_memory(self.device))
            self.record.cost = self.ledger
        self.folder.write_record(self.record)

    @contextmanager
    def stop_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for a stop after the current iteration; a second one ends the process as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self.interrupted = True
            signal.signal(number, before[number])
            os.write(2, b"stopping after this update; once more to stop at once\n")  # which a signal handler may do

        before = {number: signal.getsignal(number) for number in (int(signal.SIGINT), int(signal.SIGTERM))}
        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
