"""What is to be measured, and by which protocol: settled and checked before anything is fetched or made."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.errors import UsageError, one_line
from bench.files.assets import Asset
from bench.files.atomic import content_digest
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.images import ImageSpec
from bench.plugin.metric import FeatureMetric, GeneratorMetric, Metric
from bench.plugin.protocol import Protocol, PublishedStatistics
from bench.plugin.teacher import Teacher
from bench.runs.recipe import Request

STATISTICS = (".safetensors", ".npz")
"""Names of files of statistics end so."""


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
    def label(self) -> str:
        """The protocol's id; with a digest of the reference and weights that were given in place of the protocol's own."""
        given = [] if self.reference in (None, *self.protocol.references) else [identity(self)]
        given += [content_digest(self.extractor_path)] if self.extractor_path else []
        mark = hashlib.sha256(" ".join(given).encode()).hexdigest()[:6]
        return f"{self.protocol.id}@{mark}" if given else self.protocol.id

    @property
    def extractors(self) -> dict[str, type[FeatureExtractor]]:
        """Those of the protocol's whose features are needed."""
        names = dict.fromkeys(self.extractor_of(m) for m in self.feature_metrics.values())
        return {name: registry.get("extractor", name) for name in names}

    def extractor_of(self, metric: FeatureMetric) -> str:
        """Whose feature a metric is computed from."""
        return extractors_with(self.protocol, metric.feature)[0]

    @property
    def sources(self) -> Sequence[Path | PublishedStatistics | str]:
        """Where statistics of real images come from, the first that has them; text is a file, or a data set."""
        place = self.reference or self.subject.dataset
        return [*self.protocol.references.get(place, ()), place] if place else []

    @property
    def assets(self) -> list[Asset]:
        """The files that have to be fetched: weights of extractors, and published statistics where a metric compares."""
        used = list(self.extractors.values())
        found = [asset for extractor in (used if not self.extractor_path else used[1:]) for asset in extractor.assets]
        needed = {f"{m.compares.name}.{self.extractor_of(m)}.{m.feature}" for m in self.feature_metrics.values() if m.compares}
        return found + [s.asset for s in self.sources if isinstance(s, PublishedStatistics) and s.key in needed]

    def load_extractors(self) -> dict[str, FeatureExtractor]:
        """The extractors with their weights; a path is for the only one, or else for the protocol's first."""
        used = self.extractors
        meant = next(iter(used)) if len(used) == 1 else self.protocol.extractors[0]
        return {name: extractor(self.extractor_path if name == meant else None) for name, extractor in used.items()}


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
            known = f"{', '.join(protocol.references)}, or " if protocol.references else ""
            raise UsageError(
                f"the metric {name!r} compares with real images, and {subject.name!r} names no data set; say --reference and "
                f"one of {known}a data set or a file of statistics."
            )
    for place in (wanted.extractor_path, wanted.reference if Path(wanted.reference or "").suffix in STATISTICS else None):
        if place and not Path(place).is_file():
            raise UsageError(f"the file {place!r} does not exist; check the path.")
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
    if isinstance(metric, FeatureMetric) and not extractors_with(protocol, metric.feature):
        given = [feature for extractor in protocol.extractors for feature in registry.get("extractor", extractor).features]
        have = [p for p in registry.entries("protocol") if extractors_with(registry.get("protocol", p), metric.feature)]
        raise UsageError(
            f"the metric {name!r} needs the feature {metric.feature!r}, and the extractor of {protocol.id} gives only "
            f"{', '.join(given)}; choose another metric, or a --protocol that has it ({', '.join(have) or 'none here'})."
        )
    return metric


def extractors_with(protocol: Protocol, feature: str) -> list[str]:
    """Names of the protocol's extractors that have a feature, in the protocol's order."""
    return [name for name in protocol.extractors if feature in registry.get("extractor", name).features]


def registered(protocol: Protocol) -> str:
    """The name under which a protocol is registered, whatever its number of images is here."""
    names = registry.entries("protocol")
    return next((name for name in names if name.startswith(f"{protocol.family}-")), protocol.id)


def identity(measuring: Measuring) -> str:
    """What is known of the reference before anything is fetched: digests of what is there, names of the rest."""
    parts = []
    for place in measuring.sources:
        if isinstance(place, PublishedStatistics):
            parts.append(place.asset.sha256 or place.asset.id)
        else:
            parts.append(content_digest(Path(place)) if Path(place).exists() else str(place))
    return " ".join(parts)


def describe(measuring: Measuring, extractors: Mapping[str, FeatureExtractor]) -> dict[str, Any]:
    """The protocol in full, as it is stored beside the numbers."""
    protocol = measuring.protocol
    return {
        "samples": protocol.samples,
        "extractors": {name: extractor.digest() for name, extractor in extractors.items()},
        "extractor_precision": "16 bits, compiled" if protocol.fast else "fp32",
        "directions": {name: metric.direction for name, metric in measuring.metrics.items()},
        "compares": [name for name, metric in measuring.feature_metrics.items() if metric.compares],
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


def wanted(request: Request) -> Wanted:
    """What a request says of measuring."""
    return Wanted(
        request.protocol,
        request.eval,
        request.eval_samples,
        request.eval_repeats,
        request.fast,
        request.reference,
        request.extractor_path,
    )


def subject(teacher: Teacher | type[Teacher], name: str) -> Subject:
    """What is measured of a teacher's students, and of itself."""
    return Subject(name, teacher.images, teacher.dataset, teacher.protocol)
