"""One run from recipe to record: prepare, train, evaluate at the budget's points, checkpoint, and finish."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench import environment
from bench.budget import Budget, Ledger
from bench.checkpoint import load_tensors, load_weights, save_tensors
from bench.engine import Trainer
from bench.errors import BenchError, Interrupted
from bench.evaluate import Evaluator, generate_images
from bench.events import Evaluated, Event, Finished, Note, Progress
from bench.files import sha256
from bench.job import Job
from bench.method import Method
from bench.pairs import PairStream, teacher_pairs
from bench.record import Evaluation, Record
from bench.render.images import save_samples
from bench.store import RunFolder, now

CHECKPOINT_SECONDS = 15.0
LOG_EVERY = 50
"""Updates between two lines of the training curve."""
REPORT_SECONDS = 0.2
SAMPLES = 64
"""Images in a run's sample grids, from seeds 0 to 63 at every evaluation."""


def execute(job: Job, results: Path, device: torch.device, *, fresh: bool = False) -> Iterator[Event]:
    """Carry out a job in its run folder: continue it where it stopped, or answer from its record if it is finished.

    Raises UsageError if another process holds the run; Interrupted after SIGINT or SIGTERM, with the checkpoint saved;
    BenchError if the run fails. In the last two cases the record says so.
    """
    precision = environment.choose_precision(job.settings.precision, device)
    environment.choose_threads(job.teacher.denoiser)
    folder = RunFolder(results / job.recipe.run_id)
    with folder.locked():
        if fresh:
            folder.clear()
        previous = folder.read_record()
        if previous is not None and previous.status == "done":
            yield Finished(previous, folder, reused=True)
            return
        run = _Run(job, folder, device, precision, previous)
        try:
            yield from run.prepare()
            if job.budget is not None:
                yield from run.train(job.budget)
            yield from run.finish()
        except Interrupted:
            run.close("interrupted")
            raise
        except Exception as error:
            run.close("failed", str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}")
            raise


class _Run:
    """A job being carried out in its folder."""

    def __init__(self, job: Job, folder: RunFolder, device: torch.device, precision: str, previous: Record | None) -> None:
        self.job, self.folder, self.device = job, folder, device
        self.plan = job.recipe.evaluation
        self.teacher = job.teacher.to(device)
        torch.manual_seed(job.recipe.seed)
        self.method = job.method_class(job.settings, self.teacher)
        self.trainer: Trainer | None = None
        self.evaluator: Evaluator | None = None
        self.interrupted = False
        self.record = Record(
            run_id=job.recipe.run_id,
            method=job.recipe.method,
            teacher=job.recipe.teacher,
            seed=job.recipe.seed,
            recipe=job.recipe.model_dump(mode="json"),
            recipe_hash=job.recipe.hash(),
            request=job.request.model_dump(mode="json"),
            inputs=job.inputs,
            sources=job.sources,
            requires=[type(r).__name__ for r in job.method_class.requires(job.settings)],
            nfe=self.method.nfe,
            parameters=sum(p.numel() for p in self.method.generator.parameters()),
            environment=environment.describe(device, precision),
            started=previous.started if previous else now(),
            evaluations=previous.evaluations if previous else [],
            tuning=job.tuning,
        )

    @property
    def ledger(self) -> Ledger:
        return self.trainer.ledger if self.trainer else Ledger()

    def prepare(self) -> Iterator[Event]:
        """The evaluator, the pairs a method requires, the trainer, and the checkpoint to continue from."""
        if self.plan is not None and self.job.protocol is not None:
            self.evaluator = Evaluator(self.job.protocol, self.plan.metrics, self.teacher, self.device)
            self.record.protocols = {self.job.protocol.id: self.evaluator.describe()}
        self.folder.write_recipe(self.job.recipe)
        self._write_record()
        if self.job.budget is None:
            return
        pairs: PairStream | None = None
        for wanted in self.job.method_class.requires(self.job.settings):
            yield Note(f"{wanted.count:,} noise-image pairs of the teacher, {wanted.steps} Heun steps each")
            pairs = teacher_pairs(self.teacher, wanted, self.device)
        self.trainer = Trainer(self.method, self.teacher, self.job.budget, self.device, pairs)
        if self.trainer.fraction >= 1:
            raise BenchError(
                f"the teacher's pairs alone cost {self.ledger.spent(self.job.budget.axis):.3g} of the budget {self.job.budget}; "
                "give a larger --budget or fewer --set pairs=N."
            )
        if self.folder.state.exists():
            self.trainer.restore(*load_tensors(self.folder.state))
            yield Note(f"continuing after {self.ledger.images:,} images")
        self.record.evaluations = [e for e in self.record.evaluations if e.updates <= self.ledger.updates]
        self.folder.rewind_log(self.ledger.updates)

    def train(self, budget: Budget) -> Iterator[Event]:
        """Spend the budget; evaluate at its points and save a checkpoint there, every few seconds, and when interrupted."""
        assert self.trainer is not None
        trainer, points = self.trainer, self._points_ahead(budget)
        saved = reported = time.perf_counter()
        first_images, first_seconds = self.ledger.images, self.ledger.seconds
        with self._stop_signals():
            while True:
                if points and self.ledger.spent(budget.axis) >= points[0]:
                    self._let_gpu_catch_up()
                    points = [p for p in points if p > self.ledger.spent(budget.axis)]
                    yield self._evaluate(trainer.averaged(), last=trainer.fraction >= 1)
                    saved = self._checkpoint()
                if trainer.fraction >= 1:
                    break
                self._timed_iteration(log=(self.ledger.updates + 1) % LOG_EVERY == 0)
                if budget.axis == "flops" and not self.ledger.flops:
                    raise BenchError(f"an update of {self.record.method!r} counts no operations here; give --budget images=N.")
                clock = time.perf_counter()
                if self.interrupted:
                    self._checkpoint()
                    raise Interrupted(
                        f"stopped after {self.ledger.images:,} images with the checkpoint saved; the same command continues."
                    )
                if clock - saved > CHECKPOINT_SECONDS:
                    saved = self._checkpoint()
                if clock - reported > REPORT_SECONDS:
                    reported = clock
                    rate = (self.ledger.images - first_images) / (self.ledger.seconds - first_seconds)
                    yield Progress(min(trainer.fraction, 1.0), self.ledger, rate)
        self._checkpoint()
        self._save_generator(self.folder.weights)
        self.record.checkpoint = {
            "path": str(self.folder.weights.relative_to(self.folder.path)),
            "sha256": sha256(self.folder.weights),
        }

    def finish(self) -> Iterator[Event]:
        """The final numbers. A better checkpoint on the way is measured again, on fresh seeds, and called best."""
        if self.evaluator is not None and self.job.budget is None:
            yield Note(f"sampling {self.job.recipe.teacher} with {self.method.nfe} evaluations an image")
            yield self._evaluate(self.method, last=True)
        history = self.record.evaluations
        if self.evaluator is not None and history:
            self.record.final = {name: m.value for name, m in history[-1].metrics.items()}
            self.record.best = self._best(history)
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
        self.ledger.seconds += time.perf_counter() - started
        if log:
            cost = {axis: getattr(self.ledger, axis) for axis in ("images", "updates", "flops", "seconds")}
            self.folder.log(cost | losses)

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
        evaluation = Evaluation(
            images=self.ledger.images,
            updates=self.ledger.updates,
            flops=self.ledger.flops,
            seconds=self.ledger.seconds,
            samples=self.evaluator.protocol.samples,
            nfe=self.method.nfe,
            metrics=self.evaluator.measure(sampler.generate, replicates),
        )
        grid = generate_images(sampler.generate, range(SAMPLES), self.teacher.images, self.device)
        save_samples(grid, self.folder.samples / f"{self.ledger.images:012d}.png")
        self.record.evaluations.append(evaluation)
        best = self.evaluator.best(self.record.evaluations)
        if best is evaluation and not last:
            self._save_generator(self.folder.best_weights)
        self._write_record()
        return Evaluated(evaluation, best)

    def _best(self, history: list[Evaluation]) -> dict[str, Any]:
        """The last checkpoint, or one on the way that is better still when measured again on the seeds of the last."""
        assert self.evaluator is not None and self.plan is not None
        last, best = history[-1], self.evaluator.best(history)
        selection = f"the last of {len(history)} evaluations"
        if best is not last and self.trainer is not None:
            sampler = self.trainer.averaged()
            tensors, _ = load_tensors(self.folder.best_weights)
            load_weights(sampler.generator, tensors, str(self.folder.best_weights))
            again = best.model_copy(update={"metrics": self.evaluator.measure(sampler.generate, range(1, self.plan.repeats + 1))})
            if self.evaluator.best([last, again]) is again:
                last, selection = again, f"the best of {len(history)} evaluations, measured again on fresh seeds"
        return {name: m.value for name, m in last.metrics.items()} | {"images": last.images, "selection": selection}

    def _save_generator(self, path: Path) -> None:
        assert self.trainer is not None
        meta = {"run_id": self.record.run_id, "images": self.ledger.images, "recipe": self.record.recipe}
        save_tensors(path, self.trainer.averaged().generator.state_dict(), meta)

    def _checkpoint(self) -> float:
        assert self.trainer is not None
        save_tensors(self.folder.state, *self.trainer.state())
        self._write_record()
        return time.perf_counter()

    def _write_record(self) -> None:
        self.ledger.peak_memory_bytes = environment.peak_memory(self.device)
        self.record.cost = self.ledger.as_dict()
        self.folder.write_record(self.record)

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for a stop after the current iteration; a second one ends the process as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self.interrupted = True
            signal.signal(number, before[number])

        before = {number: signal.getsignal(number) for number in (int(signal.SIGINT), int(signal.SIGTERM))}
        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
