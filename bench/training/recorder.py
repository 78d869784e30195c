"""Measuring a run on its way and keeping its record: evaluations, sample grids, cost, and how it
ended.
"""

import torch

from bench import distributed, environment
from bench.errors import BenchError, Interrupted, UsageError, one_line
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.pictures import save_samples
from bench.evaluation.sampling import generate_images
from bench.files.tensors import load_sealed, load_weights
from bench.plugin.method import Method
from bench.runs.budget import Ledger
from bench.runs.events import Evaluated, Event, Note, Observer
from bench.runs.folder import RunFolder, now
from bench.runs.record import BestCheckpoint, Evaluation, Record, UsedProtocol
from bench.training.job import Job
from bench.training.signals import StopRequest

SAMPLES = 64
"""Images in a run's sample grids, from seeds 0 to 63 at every evaluation."""

_TRIALS = 1001
"""The first replicate that a trial of settings is measured on."""


class Recorder:
    """Writes one run's record as the run goes on, and evaluates its generator where the recipe says
    so: on replicate 0 along the way, at the end on replicates that no choice has seen.
    """

    def __init__(
        self, job: Job, folder: RunFolder, record: Record, observe: Observer, stop: StopRequest
    ) -> None:
        self.job, self.folder, self.record = job, folder, record
        self.observe, self.stop = observe, stop
        self.evaluator: Evaluator | None = None
        if (plan := job.evaluation) is not None:
            if any(extractor.large for extractor in plan.extractors.values()):
                observe(Note(f"loading the extractor and reference statistics of {plan.protocol.id}"))
            # 0 may have chosen the checkpoint, and those of a trial choose settings: no table has them.
            first = _TRIALS if job.request.trial else 1
            self.final_replicates = range(first, first + plan.repeats)
            self.evaluator = Evaluator(plan, job.device, observe=self._observe_until_stop)
            record.protocols = {
                self.evaluator.label: UsedProtocol.model_validate(self.evaluator.describe())
            }

    def _observe_until_stop(self, event: Event) -> None:
        """Pass on notes, and end an evaluation if a stop has been asked for.

        Several processes measure to the end, since one of them cannot stop alone.
        """
        if self.stop.requested and distributed.world_size() == 1:
            raise Interrupted("stopped during an evaluation; the same command continues from before it.")
        if isinstance(event, Note):
            self.observe(event)

    def open(self, method: Method) -> None:
        """Write the recipe and the record of a run whose networks stand, so that it can be seen and
        continued.
        """
        for note in filter(None, (self.job.teacher.note, self.job.hyperparameters.note)):
            self.observe(Note(note))
        self.record.nfe = method.nfe
        self.record.parameters = sum(p.numel() for p in method.generator.parameters())
        self.folder.write_recipe(self.job.recipe)
        self.folder.write_record(self.record)

    def rewind(self, ledger: Ledger) -> None:
        """Forget the evaluations and the lines of the training curve that lie beyond a checkpoint."""
        self.record.evaluations = [e for e in self.record.evaluations if e.updates <= ledger.updates]
        self.folder.rewind_log(ledger.updates)

    def evaluate(self, method: Method, ledger: Ledger, *, last: bool) -> Evaluation:
        """Measure the method's generator, write a grid of its samples, and add the evaluation to
        the record. The value watched is that of the first metric on replicate 0, each time.

        Returns the best evaluation so far, which may be this one. The record is not written yet:
        first come the weights of the best, which it must not promise before they are there.
        """
        assert self.evaluator is not None
        metrics = self.evaluator.measure(method.sample, self.final_replicates if last else [0])
        first = next(iter(self.evaluator.feature_metrics))
        evaluation = Evaluation(
            images=ledger.images,
            updates=ledger.updates,
            flops=ledger.flops,
            seconds=ledger.seconds,
            samples=self.evaluator.protocol.samples,
            nfe=method.nfe,
            metrics=metrics,
            watched=self.evaluator.selection_value(method.sample) if last else metrics[first].value,
        )
        samples = generate_images(
            method.sample, range(SAMPLES), self.job.teacher.image_spec, self.job.device
        )
        if distributed.is_main():
            save_samples(samples, self.folder.grid(ledger.images))
        self.record.evaluations.append(evaluation)
        best = self.evaluator.best(self.record.evaluations)
        self.observe(Evaluated(evaluation, best, self.folder.grid(ledger.images)))
        return best

    def finish(self, method: Method) -> None:
        """Complete the record of a run that has done all its work: the final numbers, and those of
        its best checkpoint.
        """
        self.record.nfe = method.nfe  # of the last stage
        if self.evaluator is not None and self.record.evaluations:
            self.record.final = {
                name: m.value for name, m in self.record.evaluations[-1].metrics.items()
            }
            self.record.best = self._measure_best(self.evaluator, method)
        self.record.status, self.record.finished = "done", now()
        self.folder.write_finished(self.record)

    def _measure_best(self, evaluator: Evaluator, method: Method) -> BestCheckpoint:
        """Measure the checkpoint with the best watched value on the final replicates, which it has
        not seen.

        Its weights are put into ``method``, unless a crash has left those of a later point.
        """
        history, weights = self.record.evaluations, self.folder.best_weights
        distributed.wait_for_all()
        last, best = history[-1], evaluator.best(history)
        metrics, selection = last.metrics, f"the last of {len(history)} evaluations"
        if best is not last and weights.exists():
            try:
                tensors, meta = load_sealed(weights)
            except UsageError as error:
                raise BenchError(
                    f"the weights of the best checkpoint cannot be measured: {one_line(error, 400)}; remove "
                    "the file and the last ones stand for the best, or start over with --fresh."
                ) from None
            if meta["images"] == best.images:
                load_weights(method.generator, tensors, str(weights))
                metrics = evaluator.measure(method.sample, self.final_replicates)
                selection = f"the best of {len(history)} evaluations, measured again on fresh seeds"
                last = best
        distributed.wait_for_all()
        if last is history[-1] and distributed.is_main():
            weights.unlink(missing_ok=True)  # the last ones are the best
        values = {name: m.value for name, m in metrics.items()}
        return BestCheckpoint.model_validate(values | {"images": last.images, "selection": selection})


def note_peak_memory(record: Record, device: torch.device) -> None:
    """Raise the record's peak of memory to that of this process so far."""
    cost = record.cost
    cost.peak_memory_bytes = max(cost.peak_memory_bytes, environment.peak_memory(device))
