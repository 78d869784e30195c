"""The plan of an evaluation: metrics, protocol and references, settled and checked before anything
is fetched or made.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import registry
from bench.errors import UsageError, one_line
from bench.evaluation.digests import digest_of
from bench.evaluation.extraction import FeatureStatistics
from bench.files.assets import Asset
from bench.files.atomic import content_digest
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.images import ImageSpec
from bench.plugin.metric import FeatureMetric, GeneratorMetric, Metric
from bench.plugin.protocol import Protocol, PublishedStatistics
from bench.plugin.teacher import Teacher
from bench.runs.options import EvaluationOptions


@dataclass(frozen=True)
class TargetSpec:
    """The facts about its target that an evaluation needs: the size of its images, and the data set that
    they are to be like.
    """

    name: str
    image_spec: ImageSpec
    dataset: str | None
    protocol: str | None = None
    """Id of the protocol it is measured by unless another is asked for."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Which metrics of which target are measured under which protocol."""

    protocol: Protocol
    metrics: Mapping[str, Metric]
    repeats: int
    target: TargetSpec
    reference: str | None = None
    extractor_path: Path | None = None

    @property
    def feature_metrics(self) -> dict[str, FeatureMetric]:
        """The metrics that are computed from features."""
        return {name: m for name, m in self.metrics.items() if isinstance(m, FeatureMetric)}

    @property
    def label(self) -> str:
        """The protocol's id; with a digest of the reference and weights that were given in place of
        the protocol's own.
        """
        own = self.reference in (None, *self.protocol.references)
        digests = [] if own else [identity(self)]
        digests += [content_digest(self.extractor_path)] if self.extractor_path else []
        mark = hashlib.sha256(" ".join(digests).encode()).hexdigest()[:6]
        return f"{self.protocol.id}@{mark}" if digests else self.protocol.id

    @property
    def extractors(self) -> dict[str, type[FeatureExtractor]]:
        """The extractors of the protocol whose features are needed."""
        names = dict.fromkeys(self.extractor_of(m) for m in self.feature_metrics.values())
        return {name: registry.extractors.get(name) for name in names}

    def extractor_of(self, metric: FeatureMetric) -> str:
        """Name the extractor from whose feature a metric is computed."""
        return extractors_with(self.protocol, metric.feature)[0]

    @property
    def sources(self) -> Sequence[Path | PublishedStatistics | str]:
        """Places of statistics of real images, in the order in which they are looked at; a text is
        a file or a data set.
        """
        place = self.reference or self.target.dataset
        return [*self.protocol.references.get(place, ()), place] if place else []

    @property
    def assets(self) -> list[Asset]:
        """The files that have to be fetched: extractors' weights, and published statistics that a
        metric compares with.
        """
        extractors = list(self.extractors.values())
        fetched = extractors[1:] if self.extractor_path else extractors
        weights = [asset for extractor in fetched for asset in extractor.assets]
        needed = {need.key for need in reference_needs(self.protocol, self.feature_metrics).values()}
        return weights + [
            s.asset for s in self.sources if isinstance(s, PublishedStatistics) and s.key in needed
        ]

    def load_extractors(self) -> dict[str, FeatureExtractor]:
        """Load the extractors; a path given is for the only one, or else for the protocol's first."""
        used = self.extractors
        meant = next(iter(used)) if len(used) == 1 else self.protocol.extractors[0]
        return {
            name: extractor(self.extractor_path if name == meant else None)
            for name, extractor in used.items()
        }


def plan_evaluation(options: EvaluationOptions, target: TargetSpec) -> EvaluationPlan:
    """Plan an evaluation: by the target's protocol and its metrics, unless the options name others.

    Raises UsageError for whatever could not be measured, before any work is done.
    """
    protocol = _protocol(options, target)
    plan = EvaluationPlan(
        protocol,
        {name: make_metric(name, protocol) for name in options.eval or protocol.metrics},
        options.eval_repeats or protocol.repeats,
        target,
        options.reference,
        Path(options.extractor_path) if options.extractor_path else None,
    )
    for extractor in plan.extractors.values():
        extractor.require(target.image_spec, target.name, protocol.id)
    for name, metric in plan.feature_metrics.items():
        if protocol.samples < metric.fewest:
            raise UsageError(
                f"the metric {name!r} needs at least {metric.fewest:,} images, not "
                f"{protocol.samples:,}; raise --eval-samples"
                f"{', or lower --kid-subset-size' if name == 'kid' else ''}."
            )
        if metric.reference_statistics and not plan.sources:
            known = f"{', '.join(protocol.references)}, or " if protocol.references else ""
            raise UsageError(
                f"the metric {name!r} compares with real images, and {target.name!r} names no data "
                f"set; say --reference and one of {known}a data set or a file of statistics."
            )
    of_statistics = Path(options.reference or "").suffix in (".safetensors", ".npz")
    for place in (options.extractor_path, options.reference if of_statistics else None):
        if place and not Path(place).is_file():
            raise UsageError(f"the file {place!r} does not exist; check the path.")
    return plan


def _protocol(options: EvaluationOptions, target: TargetSpec) -> Protocol:
    name = options.protocol or target.protocol
    if name is None:
        raise UsageError(
            f"{target.name!r} names no protocol; give one with --protocol, or a run --eval none."
        )
    if name not in registry.protocols.entries() and name == target.protocol:
        raise UsageError(
            f"{target.name!r} is measured by the protocol {name!r}, which is not there; give "
            "another --protocol of `bench list protocols`, or a run --eval none."
        )
    protocol: Protocol = registry.protocols.get(name)
    if options.eval_samples:
        protocol = protocol.with_samples(options.eval_samples)
    protocol = _with_kid(protocol, options)
    return dataclasses.replace(protocol, fast=True) if options.fast else protocol


def _with_kid(protocol: Protocol, options: EvaluationOptions) -> Protocol:
    """Return the protocol with the subsets of KID that are asked for, itself where they are its own.

    Raises UsageError where KID is not measured, and for subsets larger than the whole.
    """
    wishes = {"size": options.kid_subset_size, "subsets": options.kid_subsets}
    asked = {name: value for name, value in wishes.items() if value is not None}
    if not asked:
        return protocol
    if "kid" not in (options.eval or protocol.metrics):
        raise UsageError(
            "the subsets of KID were chosen, and kid is not measured; add it to --metrics, or leave "
            "--kid-subset-size and --kid-subsets out."
        )
    if (size := asked.get("size", 0)) > protocol.samples:
        raise UsageError(
            f"--kid-subset-size {size:,} is more than the {protocol.samples:,} images of {protocol.id}; "
            "give a smaller one, or raise --eval-samples."
        )
    parameters = {"kid": {**protocol.parameters.get("kid", {}), **asked}}
    changed = dataclasses.replace(protocol, parameters={**protocol.parameters, **parameters})
    usual, metric = make_metric("kid", protocol), make_metric("kid", changed)
    if metric == usual:
        return protocol
    whole = {**changed.parameters, "kid": vars(metric)}  # as a recipe states them, given or not
    return dataclasses.replace(
        changed, parameters=whole, variant="kid{subsets}x{size}".format(**vars(metric))
    )


def make_metric(name: str, protocol: Protocol) -> Metric:
    """Make a metric with its protocol's parameters. Raises UsageError if the protocol has no such
    feature.
    """
    try:
        metric = registry.metrics.get(name)(**protocol.parameters.get(name, {}))
    except TypeError as error:
        raise UsageError(
            f"the metric {name!r} cannot be made as {protocol.id} asks: {one_line(error)}."
        ) from None
    if not isinstance(metric, FeatureMetric | GeneratorMetric):
        raise UsageError(
            f"the metric {name!r} breaks its contract: expected a subclass of FeatureMetric or "
            "GeneratorMetric."
        )
    if isinstance(metric, FeatureMetric) and not extractors_with(protocol, metric.feature):
        features = [
            feature
            for extractor in protocol.extractors
            for feature in registry.extractors.get(extractor).features
        ]
        others = [
            p
            for p in registry.protocols.entries()
            if extractors_with(registry.protocols.get(p), metric.feature)
        ]
        raise UsageError(
            f"the metric {name!r} needs the feature {metric.feature!r}, and the extractor of "
            f"{protocol.id} gives only {', '.join(features)}; choose another metric, or a "
            f"--protocol that has it ({', '.join(others) or 'none here'})."
        )
    return metric


def extractors_with(protocol: Protocol, feature: str) -> list[str]:
    """Name the protocol's extractors that have a feature, in the protocol's order."""
    return [name for name in protocol.extractors if feature in registry.extractors.get(name).features]


def reference_needs(
    protocol: Protocol, metrics: Mapping[str, FeatureMetric]
) -> dict[str, FeatureStatistics]:
    """Name the statistics of real images that metrics compare with, for each metric that does."""
    return {
        name: FeatureStatistics(
            extractors_with(protocol, metric.feature)[0], metric.feature, metric.reference_statistics
        )
        for name, metric in metrics.items()
        if metric.reference_statistics
    }


def registered(protocol: Protocol) -> str:
    """Return the name under which a protocol is registered, whatever its number of images is here."""
    names = registry.protocols.entries()
    return next((name for name in names if name.startswith(f"{protocol.family}-")), protocol.id)


def identity(plan: EvaluationPlan) -> str:
    """Identify the reference before anything is fetched: by digests of what is there, by names of
    the rest.
    """
    parts = []
    for place in plan.sources:
        if isinstance(place, PublishedStatistics):
            parts.append(place.asset.sha256 or place.asset.id)
        else:
            parts.append(digest_of(Path(place)) if Path(place).exists() else str(place))
    return " ".join(parts)


def spec_of(teacher: Teacher | type[Teacher]) -> TargetSpec:
    """Describe the images of a teacher and of its students."""
    return TargetSpec(teacher.name, teacher.image_spec, teacher.dataset, teacher.protocol)
