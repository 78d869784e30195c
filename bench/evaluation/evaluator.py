"""Generating and measuring in one pass: every metric asked for sees every image once, and no image
is kept.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from bench import distributed
from bench.errors import BenchError, UsageError
from bench.evaluation.extraction import Extraction, FeatureStatistics, tiles
from bench.evaluation.plan import EvaluationPlan
from bench.evaluation.reference import References
from bench.evaluation.sampling import Images, at_once, batch_size, quantised
from bench.plugin.method import Generate
from bench.plugin.metric import FeatureMetric, GeneratorMetric
from bench.plugin.shapes import described
from bench.runs.events import Note, Observer, Working, ignore
from bench.runs.record import Evaluation, Measurement


class Evaluator:
    """Measures generators of one kind of image by one protocol; loads extractors and references once.

    Args:
        plan: what is measured, and by which protocol.
        device: where it is done.
        batch: images made and measured at once. Kernels may differ in their last bits with it, and
            with nothing else: the batches are the same for any number of processes, and the last is
            filled up with images that do not count.
        observe: is shown how far the work is, and what a person should know. It ends an evaluation by
            raising.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        device: torch.device,
        *,
        batch: int | None = None,
        observe: Observer = ignore,
    ) -> None:
        self.plan, self.protocol, self.device, self.observe = plan, plan.protocol, device, observe
        self.label = plan.label
        self.image_spec = plan.target.image_spec
        self.batch = batch or batch_size(self.image_spec, device)
        self.warned_of_few_images = False
        self.feature_metrics = plan.feature_metrics
        self.extractors = {
            name: extractor.to(device) for name, extractor in plan.load_extractors().items()
        }
        if self.protocol.fast and device.type != "cuda":
            raise UsageError(
                "--fast computes features in 16 bits, which only a GPU does faster; leave it out on a CPU."
            )
        if self.protocol.fast:
            for extractor in self.extractors.values():
                extractor.use_fast()
        processes = distributed.world_size()
        if -(-self.protocol.samples // self.batch) < processes:
            raise UsageError(
                f"{self.protocol.samples:,} images in batches of {self.batch} are too few for "
                f"{processes} processes; start fewer, or measure more images."
            )
        self.references = References(plan, self.extractors, device, observe)

    def measure(self, generate: Generate, replicates: Sequence[int]) -> dict[str, Measurement]:
        """Measure every metric of a generator over replicates; replicate r has the seeds r N to (r
        + 1) N - 1.

        The training random state is left as it was.
        """
        measured = self.measure_images(self._images_of(generate), replicates)
        for name, metric in self.plan.metrics.items():
            if isinstance(metric, GeneratorMetric):
                value = metric.measure(at_once(generate, self.image_spec, self.device), self.device)
                measured[name] = Measurement(
                    value=as_number(name, value), protocol=metric.conditions(self.device)
                )
        return {name: measured[name] for name in self.plan.metrics}

    def measure_images(self, images: Images, replicates: Sequence[int]) -> dict[str, Measurement]:
        """Measure the metrics of features: their mean over replicates and, of several, deviation
        and values.
        """
        if not self.feature_metrics:
            return {}
        share = 1 / len(replicates)
        values = [
            self._replicate(self.feature_metrics, images, replicate, begun=i * share, share=share)
            for i, replicate in enumerate(replicates)
        ]
        return {
            name: self._summary(name, [each[name] for each in values]) for name in self.feature_metrics
        }

    def selection_value(self, generate: Generate) -> float:
        """Measure the first metric of features on replicate 0, by which the best checkpoint is chosen."""
        name, metric = next(iter(self.feature_metrics.items()))
        return self._replicate({name: metric}, self._images_of(generate), 0)[name]

    def best(self, evaluations: Sequence[Evaluation]) -> Evaluation:
        """Choose the best by the watched value, the earliest of equals, among those of as many
        steps as the last.
        """
        comparable = [e for e in evaluations if e.nfe == evaluations[-1].nfe]
        first = next(iter(self.feature_metrics.values()))
        sign = 1 if first.direction == "lower" else -1
        return min(comparable, key=lambda e: sign * (e.watched if e.watched is not None else math.inf))

    def describe(self) -> dict[str, Any]:
        """Describe the protocol in full, as it is stored beside the numbers."""
        protocol, metrics = self.protocol, self.plan.metrics
        return {
            "samples": protocol.samples,
            "extractors": {name: extractor.digest() for name, extractor in self.extractors.items()},
            "extractor_precision": "16 bits, compiled" if protocol.fast else "fp32",
            "directions": {name: metric.direction for name, metric in metrics.items()},
            "compares": [
                name for name, metric in self.feature_metrics.items() if metric.reference_statistics
            ],
            "units": {name: metric.unit for name, metric in metrics.items() if metric.unit},
            "parameters": {
                name: parameters
                for name, metric in metrics.items()
                if dataclasses.is_dataclass(metric) and (parameters := dataclasses.asdict(metric))
            },
            "quantisation": protocol.quantisation,
            "seeds": protocol.noise,
            "labels": protocol.labels,
            "selection": protocol.selection,
            "references": self.references.facts,
        }

    def _images_of(self, generate: Generate) -> Images:
        return partial(quantised, generate, self.image_spec, self.device)

    def _replicate(
        self,
        metrics: Mapping[str, FeatureMetric],
        images: Images,
        replicate: int,
        *,
        begun: float = 0.0,
        share: float = 1.0,
    ) -> dict[str, float]:
        """Measure the metrics of one replicate. ``begun`` and ``share`` are the parts of the whole
        evaluation before this replicate and in it, for those who watch its progress.
        """
        n = self.protocol.samples
        needs = {
            name: FeatureStatistics(self.plan.extractor_of(metric), metric.feature, metric.statistics)
            for name, metric in metrics.items()
        }
        extraction = Extraction(self.extractors, needs.values(), n)
        for first in tiles(n, self.batch):
            self.observe(Working("measuring", begun + share * first / n, 1.0))
            seeds = range(replicate * n + first, replicate * n + first + self.batch)
            extraction.see(images(seeds).to(self.device), first, min(self.batch, n - first))
        kept = extraction.statistics()
        dimensions = max((len(k["mu"]) for k in kept.values() if "root" in k), default=0)
        if dimensions and not self.warned_of_few_images:  # their covariance is singular
            self.warned_of_few_images = True
            self.observe(
                Note(
                    f"{n:,} images are not more than the {dimensions:,} dimensions of their features: "
                    "FID is far too high"
                )
            )
        values = [
            as_number(name, metric.value(kept[needs[name]], self.references.prepared.get(name)))
            for name, metric in metrics.items()
        ]
        return dict(zip(metrics, distributed.of_main(values), strict=True))

    def _summary(self, name: str, values: list[float]) -> Measurement:
        if len(values) == 1:
            return Measurement(value=values[0], protocol=self.label)
        lowest = self.protocol.selection == "min" and self.plan.metrics[name].direction == "lower"
        return Measurement(
            value=statistics.fmean(values),
            std=statistics.stdev(values),
            values=values,
            smallest=min(values) if lowest else None,
            protocol=self.label,
        )


def as_number(name: str, value: Any) -> float:
    """What a metric returned, as a number. Raises BenchError if it is not one finite number."""
    try:
        value = float(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor of several numbers
        raise BenchError(
            f"what the metric {name!r} returns is {described(value)}, expected one number; reduce it, as "
            "value.mean().item() does."
        ) from None
    if not math.isfinite(value):
        raise BenchError(
            f"the metric {name!r} came out as {value}, which is no number; the run has diverged, "
            "or it is wrong."
        )
    return value
