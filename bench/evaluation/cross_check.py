"""The same images measured by this suite and by the libraries that others use, and how far the
numbers are apart.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bench import distributed
from bench.environment import all_threads, without_tf32
from bench.errors import UsageError
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.target import Target
from bench.plugin.accumulators import FeatureBank
from bench.plugin.extractor import Features
from bench.plugin.metric import FeatureMetric
from bench.runs.events import Working


@dataclass(frozen=True)
class Comparison:
    """One number for one set of images."""

    metric: str
    formula: str
    """Whose program computed it from features."""
    features: str
    """Whose program computed the features from the images."""
    value: float
    difference: float
    """From this suite's own number."""


Extract = Callable[[Tensor], Features]
OWN = "distill-bench"


def require_checkable(target: Target) -> None:
    """Raise UsageError if no other library here has any of the metrics."""
    if distributed.world_size() > 1:
        raise UsageError("--cross-check measures in one process; leave torchrun out.")
    metrics = target.plan.feature_metrics
    if all(type(metric).by_others is FeatureMetric.by_others for metric in metrics.values()):
        names = ", ".join(target.plan.metrics)
        raise UsageError(
            f"no other library here computes {names}; cross-check fid, is, kid, precision or recall."
        )


def cross_check(target: Target, evaluator: Evaluator) -> list[dict[str, Any]]:
    """One replicate by this suite; by others' formulas on its features; and by others from the
    uint8 images on.

    Holds the replicate's images and features in memory.
    """
    images = _images(target, evaluator)
    metrics = evaluator.feature_metrics

    def read(places: range) -> Tensor:
        return images[places.start : places.stop]

    own = evaluator.measure_images(read, [0])
    rows = []
    for ours in evaluator.extractors.values():
        implementations: dict[str, Extract] = {OWN: ours, **ours.by_others()}
        features_of = {
            who: _features(implementation, images, evaluator)
            for who, implementation in implementations.items()
        }
        computed = {name: metric for name, metric in metrics.items() if metric.feature in ours.features}
        for name, metric in computed.items():
            rows.append(Comparison(name, OWN, OWN, own[name].value, 0.0))
            for who, features in features_of.items():
                values = metric.by_others(
                    features[metric.feature], evaluator.references.prepared.get(name)
                )
                rows += [
                    Comparison(name, library, who, value, value - own[name].value)
                    for library, value in values.items()
                    if who in (OWN, library)
                ]
    if evaluator.protocol.fast:
        exact = dataclasses.replace(
            evaluator.plan, protocol=dataclasses.replace(evaluator.protocol, fast=False)
        )
        for name, m in (
            Evaluator(exact, evaluator.device, batch=evaluator.batch).measure_images(read, [0]).items()
        ):
            rows.append(Comparison(name, OWN, f"{OWN} in float32", m.value, m.value - own[name].value))
    return [asdict(row) for row in rows]


def _images(target: Target, evaluator: Evaluator) -> Tensor:
    """All images of the first replicate, uint8, on the CPU."""
    n, images = evaluator.protocol.samples, []
    for start in range(0, n, evaluator.batch):
        evaluator.observe(Working("measuring", start, n))
        first = target.replicates[0] * n + start
        images.append(target.images(range(first, first + evaluator.batch)).cpu())
    return torch.cat(images)[:n]


def _features(extract: Extract, images: Tensor, evaluator: Evaluator) -> dict[str, Tensor]:
    """All features of the images by one implementation, on the CPU."""
    banks: dict[str, FeatureBank] = {}
    for start in range(0, len(images), evaluator.batch):
        with (
            torch.no_grad(),
            without_tf32(),
            all_threads(any(e.large for e in evaluator.extractors.values())),
        ):
            batch: Mapping[str, Tensor] = extract(
                images[start : start + evaluator.batch].to(evaluator.device)
            )
        for name, features in batch.items():
            banks.setdefault(name, FeatureBank(len(images))).update(features.cpu(), start)
    return {name: bank.statistics()["features"] for name, bank in banks.items()}
