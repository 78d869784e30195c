"""Generate and measure in one pass: every metric asked for sees every image once, and no image is kept."""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.checkpoint import load_tensors
from bench.dataset import Dataset, open_dataset, prepared
from bench.environment import without_tf32
from bench.errors import BenchError, Interrupted
from bench.protocol import FeatureExtractor, Metric, Protocol, seeded_draw, seeded_noise, to_uint8
from bench.record import Evaluation, Measurement
from bench.teacher import ImageSpec, Teacher

Generate = Callable[..., Tensor]
"""Noise and labels, and if it takes them further draws of noise, to images in [-1, 1]."""

BATCH = 500
"""Images measured at once."""


class Evaluator:
    """Measures generators of one teacher's kind of image by one protocol; loads extractor and references once."""

    def __init__(
        self,
        protocol: Protocol,
        metrics: Sequence[str],
        teacher: Teacher,
        device: torch.device,
        interrupted: Callable[[], bool] = lambda: False,
        report: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        self.protocol, self.images, self.device = protocol, teacher.images, device
        self.interrupted, self.report = interrupted, report
        self.metrics: dict[str, type[Metric]] = {name: registry.get("metric", name) for name in metrics}
        self.extractor: FeatureExtractor = registry.get("extractor", protocol.extractor)().to(device)
        self.references = self._references(teacher)

    def measure(self, generate: Generate, replicates: Sequence[int]) -> dict[str, Measurement]:
        """Every metric's mean over replicates, and their standard deviation if there are several.

        Replicate r uses the seeds from r N to (r + 1) N - 1. The training random state is left as it was.
        """
        values = [self._replicate(generate, r, i / len(replicates), 1 / len(replicates)) for i, r in enumerate(replicates)]
        return {
            name: Measurement(
                value=statistics.fmean(v[name] for v in values),
                std=statistics.stdev(v[name] for v in values) if len(values) > 1 else None,
                protocol=self.protocol.id,
            )
            for name in self.metrics
        }

    def _replicate(self, generate: Generate, replicate: int, begun: float, share: float) -> dict[str, float]:
        """The metrics of one replicate, which is this share of the work and comes after what has begun it."""
        n = self.protocol.samples
        metrics = {name: metric(n) for name, metric in self.metrics.items()}
        for first in range(replicate * n, (replicate + 1) * n, BATCH):
            if self.interrupted():
                raise Interrupted("stopped during an evaluation; the same command continues from before it.")
            self.report(begun + share * (first / n - replicate))
            seeds = range(first, min(first + BATCH, (replicate + 1) * n))
            feed(metrics, self.extractor, to_uint8(generate_images(generate, seeds, self.images, self.device)))
        values = {name: metric.value(self.references.get(name)) for name, metric in metrics.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise BenchError(
                    f"the metric {name!r} came out as {value}, which is no number; the run has diverged, or the metric is wrong."
                )
        return values

    def _references(self, teacher: Teacher) -> dict[str, dict[str, Tensor]]:
        needed = {name: metric for name, metric in self.metrics.items() if metric.needs_reference}
        tensors: dict[str, Tensor] = {}
        meta: dict[str, Any] = {"dataset": teacher.dataset}
        if self.protocol.reference is not None:
            tensors, meta = load_tensors(self.protocol.reference)
            if meta.get("extractor_digest") != self.extractor.digest():
                raise BenchError(
                    f"the reference {self.protocol.reference} was made with the extractor "
                    f"{str(meta.get('extractor_digest'))[:12]}, the protocol {self.protocol.id} uses "
                    f"{self.extractor.digest()[:12]}; make it again with `bench stats`."
                )
        stored = {n: {k.removeprefix(f"{n}."): t for k, t in tensors.items() if k.startswith(f"{n}.")} for n in needed}
        missing = {n: metric for n, metric in needed.items() if not stored[n]}
        if missing:  # a plugin's metric, or a protocol that ships no statistics
            images = prepared(open_dataset(meta["dataset"]), max_size=meta.get("max_size"), xflip=meta.get("xflip", False))
            stored |= reference_statistics(self.extractor, images, missing, self.device)
        return stored

    def best(self, evaluations: Sequence[Evaluation]) -> Evaluation:
        """The one with the best watched value; the earliest of equals."""
        first = next(iter(self.metrics.values()))
        sign = 1 if first.direction == "lower" else -1
        return min(evaluations, key=lambda e: sign * (e.watched if e.watched is not None else math.inf))

    def describe(self) -> dict[str, Any]:
        """The protocol in full, as it is stored beside the numbers."""
        return {
            "extractor": self.protocol.extractor,
            "extractor_digest": self.extractor.digest(),
            "samples": self.protocol.samples,
            "directions": {name: metric.direction for name, metric in self.metrics.items()},
            "quantisation": "floor(127.5 x + 128) clipped to 0..255",
            "seeds": "noise and label of sample i from seed i; replicate r uses seeds r N to (r + 1) N - 1",
            "labels": "uniform",
            "extractor_precision": "fp32",
        }


def feed(metrics: Mapping[str, Metric], extractor: FeatureExtractor, images: Tensor) -> None:
    """Extract the features of uint8 images once, in full float32, and give each metric the one it asks for."""
    with torch.no_grad(), without_tf32():
        features = extractor(images)
    for metric in metrics.values():
        metric.update(features[metric.feature])


def reference_statistics(
    extractor: FeatureExtractor,
    dataset: Dataset,
    metrics: Mapping[str, type[Metric]],
    device: torch.device | None = None,
    watch: Callable[[Tensor, Tensor | None], None] = lambda images, labels: None,
) -> dict[str, dict[str, Tensor]]:
    """The statistics of real images, by metric; ``watch`` is shown every batch of images and labels on its way."""
    accumulators = {name: metric(len(dataset)) for name, metric in metrics.items()}
    for images, labels in dataset.batches(BATCH):
        feed(accumulators, extractor, images.to(device))
        watch(images, labels)
    return {name: metric.statistics() for name, metric in accumulators.items()}


def generate_images(generate: Generate, seeds: range, images: ImageSpec, device: torch.device) -> Tensor:
    """Images in [-1, 1] of these seeds, without touching the random state. Raises BenchError for images that are not finite."""
    at_once = generation_batch(images, device)
    return torch.cat([_generate(generate, seeds[i : i + at_once], images, device) for i in range(0, len(seeds), at_once)])


def generation_batch(images: ImageSpec, device: torch.device) -> int:
    """Images generated at once: as many as are measured, and on a CPU as many as fit into its memory with a large network."""
    return BATCH if device.type == "cuda" else max(1, min(BATCH, 2**16 // images.resolution**2))


def _generate(generate: Generate, seeds: range, images: ImageSpec, device: torch.device) -> Tensor:
    z, labels = seeded_noise(seeds, images)
    draws = "draw" in inspect.signature(generate).parameters
    more = {"draw": seeded_draw(seeds, images, device)} if draws else {}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        made = generate(z.to(device), None if labels is None else labels.to(device), **more)
    if made.shape != z.shape:
        raise BenchError(f"the generator returned images of shape {tuple(made.shape)}, expected {tuple(z.shape)}.")
    if not made.isfinite().all():
        raise BenchError("the generator returns NaN or infinite values: the run has diverged; lower the learning rates.")
    return made
