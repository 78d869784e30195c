"""Generate and measure in one pass: every metric asked for sees every image once, and no image is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.checkpoint import load_tensors, save_tensors
from bench.errors import BenchError, UsageError
from bench.files import require_writable
from bench.protocol import FeatureExtractor, Metric, Protocol, seeded_noise, to_uint8
from bench.record import Evaluation, Measurement
from bench.teacher import Dataset, ImageSpec, Teacher, tensors_digest

Generate = Callable[[Tensor, Tensor | None], Tensor]
"""Noise and labels to images in [-1, 1]."""

BATCH = 500
"""Images generated and measured at once."""


class Evaluator:
    """Measures generators of one teacher's kind of image by one protocol; loads extractor and references once."""

    def __init__(self, protocol: Protocol, metrics: Sequence[str], teacher: Teacher, device: torch.device) -> None:
        self.protocol, self.images, self.device = protocol, teacher.images, device
        self.metrics: dict[str, type[Metric]] = {name: registry.get("metric", name) for name in metrics}
        self.extractor: FeatureExtractor = registry.get("extractor", protocol.extractor)().to(device)
        takes = self.extractor.images
        if takes and (takes.channels, takes.resolution) != (self.images.channels, self.images.resolution):
            raise BenchError(
                f"the protocol {protocol.id} takes {takes.channels}x{takes.resolution}x{takes.resolution} images, the teacher's "
                f"are {self.images.channels}x{self.images.resolution}x{self.images.resolution}; choose another --protocol."
            )
        self.references = self._references(teacher)

    def measure(self, generate: Generate, replicates: Sequence[int]) -> dict[str, Measurement]:
        """Every metric's mean over replicates, and their standard deviation if there are several.

        Replicate r uses the seeds from r N to (r + 1) N - 1. The training random state is left as it was.
        """
        values = [self._replicate(generate, r) for r in replicates]
        return {
            name: Measurement(
                value=statistics.fmean(v[name] for v in values),
                std=statistics.stdev(v[name] for v in values) if len(values) > 1 else None,
                protocol=self.protocol.id,
            )
            for name in self.metrics
        }

    def _replicate(self, generate: Generate, replicate: int) -> dict[str, float]:
        n = self.protocol.samples
        metrics = {name: metric(n) for name, metric in self.metrics.items()}
        for first in range(replicate * n, (replicate + 1) * n, BATCH):
            seeds = range(first, min(first + BATCH, (replicate + 1) * n))
            feed(metrics, self.extractor, to_uint8(generate_images(generate, seeds, self.images, self.device)))
        return {name: metric.value(self.references.get(name)) for name, metric in metrics.items()}

    def _references(self, teacher: Teacher) -> dict[str, dict[str, Tensor]]:
        needed = [name for name, metric in self.metrics.items() if metric.needs_reference]
        if not needed:
            return {}
        if self.protocol.reference is None:
            dataset: Dataset = registry.get("dataset", teacher.dataset)()
            return reference_statistics(self.extractor, dataset, {n: self.metrics[n] for n in needed}, self.device)
        tensors, meta = load_tensors(self.protocol.reference)
        if meta.get("extractor_digest") != self.extractor.digest():
            raise BenchError(
                f"the reference {self.protocol.reference} was made with the extractor {str(meta.get('extractor_digest'))[:12]}, "
                f"the protocol {self.protocol.id} uses {self.extractor.digest()[:12]}; make it again with `bench stats`."
            )
        missing = [name for name in needed if not any(t.startswith(f"{name}.") for t in tensors)]
        if missing:
            raise BenchError(
                f"the reference {self.protocol.reference} has no statistics for {missing[0]!r}; make it again with `bench stats`."
            )
        return {n: {k.removeprefix(f"{n}."): t for k, t in tensors.items() if k.startswith(f"{n}.")} for n in needed}

    def best(self, evaluations: Sequence[Evaluation]) -> Evaluation:
        """The best of several evaluations by the first metric; the earliest of equals."""
        name, metric = next(iter(self.metrics.items()))
        choose = min if metric.direction == "lower" else max
        return choose(evaluations, key=lambda e: e.metrics[name].value)

    def describe(self) -> dict[str, Any]:
        """The protocol in full, as it is stored beside the numbers."""
        return {
            "extractor": self.protocol.extractor,
            "extractor_digest": self.extractor.digest(),
            "samples": self.protocol.samples,
            "directions": {name: metric.direction for name, metric in self.metrics.items()},
            "reference_digest": tensors_digest({f"{m}.{k}": t for m, s in self.references.items() for k, t in s.items()}),
            "quantisation": "floor(127.5 x + 128) clipped to 0..255",
            "seeds": "noise and label of sample i from seed i; replicate r uses seeds r N to (r + 1) N - 1",
            "labels": "uniform",
            "network": "weight average of the generator",
        }


def feed(metrics: Mapping[str, Metric], extractor: FeatureExtractor, images: Tensor) -> None:
    """Extract the features of uint8 images once and give each metric the one it asks for."""
    with torch.no_grad():
        features = extractor(images)
    for name, metric in metrics.items():
        if metric.feature not in features:
            raise UsageError(
                f"the metric {name!r} needs the feature {metric.feature!r}, and the protocol's extractor gives only "
                f"{', '.join(features)}; choose another metric or another --protocol."
            )
        metric.update(features[metric.feature])


def reference_statistics(
    extractor: FeatureExtractor, dataset: Dataset, metrics: Mapping[str, type[Metric]], device: torch.device | None = None
) -> dict[str, dict[str, Tensor]]:
    """The statistics of real images, by metric."""
    accumulators = {name: metric(len(dataset)) for name, metric in metrics.items()}
    for images, _ in dataset.batches(BATCH):
        feed(accumulators, extractor, images.to(device))
    return {name: metric.statistics() for name, metric in accumulators.items()}


def generate_images(generate: Generate, seeds: range, images: ImageSpec, device: torch.device) -> Tensor:
    """Images in [-1, 1] of these seeds, without touching the random state. Raises BenchError for images that are not finite."""
    z, labels = seeded_noise(seeds, images)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        made = generate(z.to(device), None if labels is None else labels.to(device))
    if made.shape != z.shape:
        raise BenchError(f"the generator returned images of shape {tuple(made.shape)}, expected {tuple(z.shape)}.")
    if not made.isfinite().all():
        raise BenchError("the generator returns NaN or infinite values: the run has diverged; lower the learning rates.")
    return made


def write_reference(teacher_name: str, output: Path) -> str:
    """Measure the teacher's data set under its protocol and write the statistics; returns a line that describes them."""
    require_writable(output.parent, "folder")
    teacher_class: type[Teacher] = registry.get("teacher", teacher_name)
    protocol: Protocol = registry.get("protocol", teacher_class.protocol)
    torch.set_num_threads(1)
    extractor: FeatureExtractor = registry.get("extractor", protocol.extractor)()
    dataset: Dataset = registry.get("dataset", teacher_class.dataset)()
    metrics = {name: m for name in registry.entries("metric") if (m := registry.get("metric", name)).needs_reference}
    statistics = reference_statistics(extractor, dataset, metrics)
    tensors = {f"{metric}.{key}": t for metric, own in statistics.items() for key, t in own.items()}
    meta = {
        "made_by": f"bench stats {teacher_name}",
        "dataset": teacher_class.dataset,
        "images": len(dataset),
        "extractor": protocol.extractor,
        "extractor_digest": extractor.digest(),
        "tensors_sha256": tensors_digest(tensors),
    }
    save_tensors(output, tensors, meta)
    return f"{len(dataset):,} images of {teacher_class.dataset}, {', '.join(metrics)}, extractor {extractor.digest()[:12]}"
