"""The same images measured by this suite and by the libraries that others use, and how far the
numbers are apart.
"""

import dataclasses
from collections.abc import Callable, Mapping
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
from bench.runs.record import Measurement

OWN = "distill-bench"


def require_checkable(target: Target) -> None:
    """Raise UsageError if no other library here has any of the metrics."""
    if distributed.world_size() > 1:
        raise UsageError("--cross-check measures in one process; leave torchrun out.")
    metrics = target.plan.feature_metrics.values()
    if all(type(metric).by_others is FeatureMetric.by_others for metric in metrics):
        raise UsageError(
            f"no other library here computes {', '.join(target.plan.metrics)}; cross-check fid, is, "
            "kid, precision or recall."
        )


def cross_check(target: Target, evaluator: Evaluator) -> list[dict[str, Any]]:
    """One replicate by this suite; by others' formulas on its features; and by others from the
    uint8 images on.

    Holds the replicate's images and features in memory.
    """
    images = _images(target, evaluator)

    def read(places: range) -> Tensor:
        return images[places.start : places.stop]

    own = evaluator.measure_images(read, [0])
    rows = []
    for ours in evaluator.extractors.values():
        features_of = {OWN: _features(ours, images, evaluator)} | {
            library: _features(theirs, images, evaluator) for library, theirs in ours.by_others().items()
        }
        computed = {n: m for n, m in evaluator.feature_metrics.items() if m.feature in ours.features}
        for name, metric in computed.items():
            rows.append(_row(name, OWN, OWN, own[name].value, own))
            for who, features in features_of.items():
                values = metric.by_others(
                    features[metric.feature], evaluator.references.prepared.get(name)
                )
                rows += [
                    _row(name, library, who, value, own)
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
            rows.append(_row(name, OWN, f"{OWN} in float32", m.value, own))
    return rows


def _row(
    metric: str, formula: str, features: str, value: float, own: Mapping[str, Measurement]
) -> dict[str, Any]:
    """One number for one set of images: whose program computed it from features, whose program
    computed those from the images, and how far it is from this suite's own number.
    """
    return {
        "metric": metric,
        "formula": formula,
        "features": features,
        "value": value,
        "difference": value - own[metric].value,
    }


def _images(target: Target, evaluator: Evaluator) -> Tensor:
    """All images of the first replicate, uint8, on the CPU."""
    n = evaluator.protocol.samples
    images = []
    for start in range(0, n, evaluator.batch):
        evaluator.observe(Working("measuring", start, n))
        first = target.replicates[0] * n + start
        images.append(target.images(range(first, first + evaluator.batch)).cpu())
    return torch.cat(images)[:n]


def _features(
    extract: Callable[[Tensor], Features], images: Tensor, evaluator: Evaluator
) -> dict[str, Tensor]:
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
