"""What is to be measured, and by which protocol: settled and checked before anything is fetched or made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.assets import Asset
from bench.errors import UsageError, one_line
from bench.extractor import FeatureExtractor
from bench.images import ImageSpec
from bench.metric import FeatureMetric, GeneratorMetric, Metric
from bench.protocol import Protocol, PublishedStatistics


@dataclass(frozen=True)
class Subject:
    """Whose images are measured: their size, and the data set that they are to be like, if that is known."""

    name: str
    images: ImageSpec
    dataset: str | None
    protocol: str | None = None
    """What they are measured by unless something else is asked for."""


@dataclass(frozen=True)
class Wanted:
    """What a person asked for; None means the protocol's own choice."""

    protocol: str | None = None
    metrics: Sequence[str] | None = None
    samples: int | None = None
    repeats: int | None = None
    fast: bool = False
    reference: str | None = None
    """A file of statistics, or a data set by name or path, in place of the protocol's."""
    extractor_path: str | None = None
    """Weights of the protocol's extractor, in place of the usual ones."""


@dataclass(frozen=True)
class Measuring:
    """Metrics of a subject under a protocol."""

    protocol: Protocol
    metrics: Mapping[str, Metric]
    repeats: int
    subject: Subject
    reference: str | None = None
    extractor_path: Path | None = None

    @property
    def feature_metrics(self) -> dict[str, FeatureMetric]:
        """Those that are computed from features."""
        return {name: m for name, m in self.metrics.items() if isinstance(m, FeatureMetric)}

    @property
    def extractors(self) -> dict[str, type[FeatureExtractor]]:
        """Those of the protocol's whose features are needed."""
        return extractors_of(self.protocol, {m.feature for m in self.feature_metrics.values()})

    @property
    def sources(self) -> Sequence[Path | PublishedStatistics | str]:
        """Where statistics of real images come from, the first that has them; text is a file, or a data set."""
        place = self.reference or self.subject.dataset
        return [*self.protocol.references.get(place, ()), place] if place else []

    @property
    def assets(self) -> list[Asset]:
        """The files that have to be fetched: weights of extractors, and published statistics where a metric compares."""
        found = [] if self.extractor_path else [a for extractor in self.extractors.values() for a in extractor.assets]
        kinds = {m.compares.name for m in self.feature_metrics.values() if m.compares}
        return found + [s.asset for s in self.sources if isinstance(s, PublishedStatistics) and s.kind in kinds]

    def load_extractors(self) -> dict[str, FeatureExtractor]:
        """The extractors with their weights."""
        first = self.protocol.extractors[0]
        return {name: e(self.extractor_path if name == first else None) for name, e in self.extractors.items()}


def settle(wanted: Wanted, subject: Subject) -> Measuring:
    """The protocol, the subject's unless another is named, and the metrics, the protocol's unless others are.

    Raises UsageError for whatever could not be measured, before any work is done.
    """
    protocol = _protocol(wanted, subject)
    names = list(dict.fromkeys(wanted.metrics or protocol.metrics))
    metrics = {name: make_metric(name, protocol) for name in names}
    measuring = Measuring(
        protocol,
        metrics,
        wanted.repeats or protocol.repeats,
        subject,
        wanted.reference,
        Path(wanted.extractor_path) if wanted.extractor_path else None,
    )
    for extractor in measuring.extractors.values():
        extractor.require(subject.images, subject.name, protocol.id)
    for name, metric in measuring.feature_metrics.items():
        if protocol.samples < metric.fewest:
            raise UsageError(
                f"the metric {name!r} needs at least {metric.fewest:,} images, not {protocol.samples:,}; raise --eval-samples."
            )
        if metric.compares and not measuring.sources:
            raise UsageError(
                f"the metric {name!r} compares with real images, but {protocol.id} has no reference statistics and "
                f"{subject.name!r} names no data set; give a file of statistics or a data set with --reference."
            )
    return measuring


def _protocol(wanted: Wanted, subject: Subject) -> Protocol:
    name = wanted.protocol or subject.protocol
    if name is None:
        raise UsageError(f"{subject.name!r} names no protocol; give one with --protocol, or a run --eval none.")
    if name not in registry.entries("protocol") and name == subject.protocol:
        raise UsageError(
            f"{subject.name!r} is measured by the protocol {name!r}, which is not there; give another --protocol of "
            "`bench list protocols`, or a run --eval none."
        )
    protocol: Protocol = registry.get("protocol", name)
    if wanted.samples:
        protocol = protocol.with_samples(wanted.samples)
    return dataclasses.replace(protocol, fast=True) if wanted.fast else protocol


def make_metric(name: str, protocol: Protocol) -> Metric:
    """A metric with the parameters that the protocol gives it. Raises UsageError if the protocol has no such feature."""
    try:
        metric = registry.get("metric", name)(**protocol.parameters.get(name, {}))
    except TypeError as error:
        raise UsageError(f"the metric {name!r} cannot be made as {protocol.id} asks: {one_line(error)}.") from None
    if not isinstance(metric, FeatureMetric | GeneratorMetric):
        raise UsageError(f"the metric {name!r} breaks its contract: expected a subclass of FeatureMetric or GeneratorMetric.")
    if isinstance(metric, FeatureMetric) and not extractors_of(protocol, {metric.feature}):
        given = [feature for extractor in protocol.extractors for feature in registry.get("extractor", extractor).features]
        raise UsageError(
            f"the metric {name!r} needs the feature {metric.feature!r}, and the extractor of {protocol.id} gives only "
            f"{', '.join(given)}; choose another metric or another --protocol."
        )
    return metric


def extractors_of(protocol: Protocol, features: set[str]) -> dict[str, type[FeatureExtractor]]:
    """By name, the first extractor of a protocol that has each of these features."""
    found: dict[str, type[FeatureExtractor]] = {}
    for feature in sorted(features):
        for name in protocol.extractors:
            extractor: type[FeatureExtractor] = registry.get("extractor", name)
            if feature in extractor.features:
                found[name] = extractor
                break
    return found


def describe(measuring: Measuring, extractors: Mapping[str, FeatureExtractor]) -> dict[str, Any]:
    """The protocol in full, as it is stored beside the numbers."""
    protocol = measuring.protocol
    return {
        "samples": protocol.samples,
        "extractors": {name: extractor.digest() for name, extractor in extractors.items()},
        "extractor_precision": "16 bits, compiled" if protocol.fast else "fp32",
        "directions": {name: metric.direction for name, metric in measuring.metrics.items()},
        "units": {name: metric.unit for name, metric in measuring.metrics.items() if metric.unit},
        "parameters": {
            name: parameters
            for name, m in measuring.metrics.items()
            if dataclasses.is_dataclass(m) and (parameters := dataclasses.asdict(m))
        },
        "quantisation": protocol.quantisation,
        "seeds": protocol.noise,
        "labels": protocol.labels,
        "selection": protocol.selection,
    }
