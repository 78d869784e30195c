"""The references of an evaluation: statistics of real images that metrics compare with, read from files or
measured.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from bench import distributed
from bench.errors import UsageError
from bench.evaluation.extraction import Extraction, FeatureStatistics, tiles
from bench.evaluation.plan import EvaluationPlan, reference_needs, registered
from bench.evaluation.real_statistics import UNKNOWN, RealStatistics, open_statistics, require_shape
from bench.plugin.accumulators import Statistics
from bench.plugin.dataset import ContentDigest, Dataset, checked_images
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.protocol import PublishedStatistics
from bench.runs.events import Note, Observer, Working, ignore

BATCH = 250
"""Real images measured at once."""


class References:
    """The statistics of real images that each metric of a plan compares with, prepared for it.

    Sources are asked in the plan's order until nothing is missing. What no file has is measured
    from the data set. Raises UsageError for a source that does not fit the plan, and for statistics
    that none has.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        extractors: Mapping[str, FeatureExtractor],
        device: torch.device,
        observe: Observer = ignore,
    ) -> None:
        self.facts: list[dict[str, Any]] = []
        """Facts about each source that was used, as they are stored with the numbers."""
        needs = reference_needs(plan.protocol, plan.feature_metrics)
        missing = list(dict.fromkeys(needs.values()))
        collected: dict[FeatureStatistics, Statistics] = {}
        for place in plan.sources:
            if not missing:
                break
            if isinstance(place, PublishedStatistics) and place.key not in [
                need.key for need in missing
            ]:
                continue  # not worth a download
            source = open_statistics(place, plan, extractors)
            statistics = _collect(source, missing, plan, extractors, device, observe)
            collected |= statistics
            missing = [need for need in missing if need not in statistics]
            if statistics:
                self.facts.append(source.facts)
                _warn(source, statistics, observe)
        for name, need in needs.items():
            if need in missing:
                kinds = {"moments": "mean and covariance", "bank": "all features"}
                kind = kinds[need.key.partition(".")[0].removeprefix("held-out-")]
                which, flag = ("held-out", " --held-out OTHERS") if need.held_out else ("real", "")
                raise UsageError(
                    f"the metric {name!r} needs {kind} of {which} images in the feature "
                    f"{need.feature!r} of {need.extractor}, and "
                    f"{plan.reference or plan.target.dataset!r} has none; make "
                    f"a file that has them by `bench stats DATASET{flag} --protocol "
                    f"{registered(plan.protocol)} --metrics {','.join(needs)} -o "
                    "FILE.safetensors`."
                )
        self.prepared = {
            name: plan.feature_metrics[name].prepare(collected[need]) for name, need in needs.items()
        }


def _collect(
    source: RealStatistics,
    missing: Collection[FeatureStatistics],
    plan: EvaluationPlan,
    extractors: Mapping[str, FeatureExtractor],
    device: torch.device,
    observe: Observer,
) -> dict[FeatureStatistics, Statistics]:
    """The missing statistics that a source has in its file, and those that can be measured from its
    images. Raises UsageError if these are of another size, or not those of its file.
    """
    statistics: dict[FeatureStatistics, Statistics] = {
        need: {name: t.to(device) for name, t in source.statistics[need.key].items()}
        for need in missing
        if need.key in source.statistics
    }
    _require_dimensions(source.name, statistics, plan, extractors, device)
    more = [need for need in missing if need not in statistics and not need.held_out]
    if source.open_dataset is None or not more:
        return statistics
    images = source.facts.get("dataset", source.name)
    observe(
        Note(
            f"measuring the real images of {images}, as no file has what is needed of them; "
            "`bench stats` makes one"
        )
    )
    dataset = source.open_dataset()
    require_shape(source.name, dataset.image_spec.shape, plan)
    measured, digest = measure_dataset(dataset, extractors, more, device)
    known = source.facts.get("dataset_digest")
    if known and distributed.world_size() == 1 and digest != known:
        raise UsageError(
            f"the data set {source.facts['dataset']!r} here is not the one that {source.name} was "
            "made from; make it again, with --metrics for all that you measure."
        )
    return statistics | measured


def _require_dimensions(
    name: str,
    statistics: Mapping[FeatureStatistics, Statistics],
    plan: EvaluationPlan,
    extractors: Mapping[str, FeatureExtractor],
    device: torch.device,
) -> None:
    """Raise UsageError for statistics of features of another dimension than the extractors give."""
    image = torch.zeros(1, *plan.target.image_spec.shape, dtype=torch.uint8, device=device)
    for need, kept in statistics.items():
        given = kept["mu" if "mu" in kept else "features"].shape[-1]
        with torch.no_grad():
            expected = extractors[need.extractor](image)[need.feature].shape[-1]
        if given != expected:
            raise UsageError(
                f"the reference {name!r} has features of {given:,} dimensions, those of "
                f"{need.extractor} are of {expected:,}; give statistics of {plan.protocol.id}, or make "
                "some with `bench stats`."
            )


def _warn(
    source: RealStatistics, statistics: Mapping[FeatureStatistics, Statistics], observe: Observer
) -> None:
    if source.facts["builder"] == UNKNOWN:
        observe(
            Note(
                f"{source.name} does not say which images and extractor it is of; it is taken to "
                "be of this protocol"
            )
        )
    few = [
        int(s["count"]) for s in statistics.values() if "count" in s and int(s["count"]) <= len(s["mu"])
    ]
    if few:
        observe(
            Note(
                f"the reference has {few[0]:,} images, not more than their features have "
                "dimensions: FID means little"
            )
        )


def measure_dataset(
    dataset: Dataset,
    extractors: Mapping[str, FeatureExtractor],
    needs: Collection[FeatureStatistics],
    device: torch.device | None = None,
    observe: Observer = ignore,
) -> tuple[dict[FeatureStatistics, Statistics], str]:
    """Measure statistics of real images, and return with them a digest of what this process has seen."""
    used = {need.extractor: extractors[need.extractor] for need in needs}
    extraction = Extraction(used, needs, len(dataset))
    digest = ContentDigest()
    size = max(1, min(BATCH, len(dataset) // distributed.world_size()))  # a part for every process
    for first in tiles(len(dataset), size):
        wanted = range(first, min(first + size, len(dataset)))
        images, labels = checked_images(dataset, dataset.read(wanted), len(wanted))
        extraction.see(images.to(device), first)
        digest.update(images, labels)
        observe(Working("measuring", first + len(images), len(dataset)))
    return extraction.statistics(), digest.hexdigest()
