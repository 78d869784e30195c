"""Generate and measure in one pass: every metric asked for sees every image once, and no image is kept."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from bench import distributed
from bench.errors import BenchError, Interrupted, UsageError
from bench.evaluation.extraction import Extraction, FeatureStatistics, tiles
from bench.evaluation.plan import EvaluationPlan, describe
from bench.evaluation.reference import References
from bench.evaluation.sampling import Images, at_once, batch_size, quantised
from bench.plugin.method import Generate
from bench.plugin.metric import FeatureMetric, GeneratorMetric
from bench.runs.record import Evaluation, Measurement


class Evaluator:
    """Measures generators of one kind of image by one protocol; loads extractors and references once.

    Args:
        measuring: what is measured, and by which protocol.
        device: where it is done.
        batch: images made and measured at once. Kernels may differ in their last bits with it, and with nothing else: the
            batches are the same for any number of processes, and the last is filled up with images that do not count.
        interrupted: asked now and then whether to stop.
        report: told which fraction is done.
        note: told what takes long.
    """

    def __init__(
        self,
        measuring: EvaluationPlan,
        device: torch.device,
        *,
        batch: int | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        report: Callable[[float], None] = lambda fraction: None,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.measuring, self.protocol, self.device = measuring, measuring.protocol, device
        self.label = measuring.label
        self.image_spec = measuring.target.image_spec
        self.batch = batch or batch_size(self.image_spec, device)
        self.interrupted, self.report, self.note, self.warned = interrupted, report, note, False
        self.feature_metrics = measuring.feature_metrics
        self.extractors = {name: extractor.to(device) for name, extractor in measuring.load_extractors().items()}
        if self.protocol.fast and device.type != "cuda":
            raise UsageError("--fast computes features in 16 bits, which only a GPU does faster; leave it out on a CPU.")
        if self.protocol.fast:
            for extractor in self.extractors.values():
                extractor.use_fast()
        if -(-self.protocol.samples // self.batch) < distributed.world_size():
            raise UsageError(
                f"{self.protocol.samples:,} images in batches of {self.batch} are too few for {distributed.world_size()} processes; "
                "start fewer, or give a smaller --batch."
            )
        self.references = References(measuring, self.extractors, device, note)

    def measure(self, generate: Generate, replicates: Sequence[int]) -> dict[str, Measurement]:
        """Every metric of a generator over replicates. Replicate r has the seeds from r N to (r + 1) N - 1.

        The training random state is left as it was.
        """
        measured = self.measure_images(self._made_by(generate), replicates)
        for name, metric in self.measuring.metrics.items():
            if isinstance(metric, GeneratorMetric):
                value = _finite(name, metric.measure(at_once(generate, self.image_spec, self.device), self.device))
                measured[name] = Measurement(value=value, protocol=metric.conditions(self.device))
        return {name: measured[name] for name in self.measuring.metrics}

    def measure_images(self, images: Images, replicates: Sequence[int]) -> dict[str, Measurement]:
        """The metrics of features: their mean over replicates and, if there are several, standard deviation and values."""
        if not self.feature_metrics:
            return {}
        share = 1 / len(replicates)
        each = [self._replicate(self.feature_metrics, images, r, i * share, share) for i, r in enumerate(replicates)]
        return {name: self._summary(name, [values[name] for values in each]) for name in self.feature_metrics}

    def _summary(self, name: str, values: list[float]) -> Measurement:
        if len(values) == 1:
            return Measurement(value=values[0], protocol=self.label)
        lowest = self.protocol.selection == "min" and self.measuring.metrics[name].direction == "lower"
        return Measurement(
            value=statistics.fmean(values),
            std=statistics.stdev(values),
            values=values,
            smallest=min(values) if lowest else None,
            protocol=self.label,
        )

    def watch(self, generate: Generate) -> float:
        """The first metric of features on replicate 0: what the choice of a checkpoint goes by."""
        name, metric = next(iter(self.feature_metrics.items()))
        return self._replicate({name: metric}, self._made_by(generate), 0)[name]

    def _made_by(self, generate: Generate) -> Images:
        return partial(quantised, generate, self.image_spec, self.device)

    def _replicate(
        self, metrics: Mapping[str, FeatureMetric], images: Images, replicate: int, begun: float = 0.0, share: float = 1.0
    ) -> dict[str, float]:
        """The metrics of one replicate, which is this share of the work and comes after what has begun it."""
        n = self.protocol.samples
        needs = {name: FeatureStatistics(self.measuring.extractor_of(m), m.feature, m.statistics) for name, m in metrics.items()}
        extraction = Extraction(self.extractors, needs.values(), n)
        for first in tiles(n, self.batch):
            if self.interrupted():
                raise Interrupted("stopped during an evaluation; the same command continues from before it.")
            self.report(begun + share * first / n)
            seeds = range(replicate * n + first, replicate * n + first + self.batch)
            extraction.see(images(seeds).to(self.device), first, min(self.batch, n - first))
        kept = extraction.statistics()
        dimensions = max((len(k["mu"]) for k in kept.values() if "root" in k), default=0)
        if dimensions and not self.warned:
            self.warned = True
            self.note(f"{n:,} images are not more than the {dimensions:,} dimensions of their features: FID is far too high")
        return {
            name: _finite(name, metric.value(kept[needs[name]], self.references.prepared.get(name)))
            for name, metric in metrics.items()
        }

    def best(self, evaluations: Sequence[Evaluation]) -> Evaluation:
        """The one with the best watched value, the earliest of equals, among those of as many steps as the last."""
        evaluations = [e for e in evaluations if e.nfe == evaluations[-1].nfe]
        first = next(iter(self.feature_metrics.values()))
        sign = 1 if first.direction == "lower" else -1
        return min(evaluations, key=lambda e: sign * (e.watched if e.watched is not None else math.inf))

    def describe(self) -> dict[str, Any]:
        """The protocol in full, as it is stored beside the numbers."""
        return describe(self.measuring, self.extractors) | {"references": self.references.facts}


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise BenchError(f"the metric {name!r} came out as {value}, which is no number; the run has diverged, or it is wrong.")
    return value
