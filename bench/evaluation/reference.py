"""Statistics of real images: read from a file that fits the protocol, or measured from a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import distributed, registry
from bench.errors import UsageError, shown
from bench.evaluation.extraction import Extraction, FeatureStatistics, tiles
from bench.evaluation.plan import EvaluationPlan, extractors_with, registered
from bench.files.assets import fetch
from bench.files.atomic import sha256
from bench.files.npz import read_npz
from bench.files.tensors import load_tensors, tensors_digest
from bench.plugin.accumulators import Statistics
from bench.plugin.dataset import ContentDigest, Dataset, InMemory, find_dataset, prepared
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.protocol import PublishedStatistics
from bench.runs.events import Note, Observer, ignore

UNKNOWN = "unknown"
"""Builder of a file that does not say what it is."""
BATCH = 250
"""Real images measured at once."""


@dataclass(frozen=True)
class RealStatistics:
    """Statistics by kind, extractor and feature, ``moments.inception.pool``; and real images to measure others from, if any."""

    name: str
    facts: dict[str, Any]
    """Builder, data set, split, number of images, and digests: of the file, and of the extractors behind it."""
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    dataset: Callable[[], Dataset] | None = None


class References:
    """What the metrics of a measurement compare with."""

    def __init__(
        self,
        plan: EvaluationPlan,
        extractors: Mapping[str, FeatureExtractor],
        device: torch.device,
        observe: Observer = ignore,
    ) -> None:
        self.facts: list[dict[str, Any]] = []
        """Of every source that was used, as they are stored with the numbers."""
        needs = {
            name: FeatureStatistics(plan.extractor_of(m), m.feature, m.reference_statistics)
            for name, m in plan.feature_metrics.items()
            if m.reference_statistics
        }
        missing = list(dict.fromkeys(needs.values()))
        found: dict[FeatureStatistics, Statistics] = {}
        for place in plan.sources:
            if not missing:
                break
            if isinstance(place, PublishedStatistics) and place.key not in [need.key for need in missing]:
                continue  # not worth a download
            source = _open(place, plan, extractors)
            own = {need: _on(source.statistics[need.key], device) for need in missing if need.key in source.statistics}
            if source.dataset is not None and (more := [need for need in missing if need not in own]):
                what = source.facts.get("dataset", source.name)
                sentence = "as no file has what is needed of them; `bench stats` makes one"
                observe(Note(f"measuring the real images of {what}, {sentence}"))
                own |= _measured(source, more, plan, extractors, device)
            found |= own
            missing = [need for need in missing if need not in own]
            if own:
                self.facts.append(source.facts)
                _warn(source, own, observe)
        for name, need in needs.items():
            if need in missing:
                kind, _, _ = need.key.partition(".")
                raise UsageError(
                    f"the metric {name!r} needs {_WORDS[kind]} of real images in the feature {need.feature!r} of "
                    f"{need.extractor}, and {plan.reference!r} has none; make a file that has them by `bench stats "
                    f"DATASET --protocol {registered(plan.protocol)} --metrics {','.join(needs)} -o FILE.safetensors`."
                )
        metrics = plan.feature_metrics
        self.prepared = {name: metrics[name].prepare(found[need]) for name, need in needs.items()}


def _warn(source: RealStatistics, own: Mapping[FeatureStatistics, Statistics], observe: Observer) -> None:
    """Say what a person must know of statistics that were given."""
    if source.facts["builder"] == UNKNOWN:
        observe(Note(f"{source.name} does not say which images and extractor it is of; it is taken to be of this protocol"))
    counted = [int(s["count"]) for s in own.values() if "count" in s and int(s["count"]) <= len(s["mu"])]
    if counted:
        observe(Note(f"the reference has {counted[0]:,} images, not more than their features have dimensions: FID means little"))


_WORDS = {"moments": "mean and covariance", "bank": "all features"}


def measure_dataset(
    dataset: Dataset,
    extractors: Mapping[str, FeatureExtractor],
    needs: Collection[FeatureStatistics],
    device: torch.device | None = None,
    watch: Callable[[Tensor, Tensor | None], None] = lambda images, labels: None,
) -> dict[FeatureStatistics, Statistics]:
    """Statistics of real images; ``watch`` is shown every batch of images and labels on its way."""
    used = {name: extractor for name, extractor in extractors.items() if any(need.extractor == name for need in needs)}
    extraction = Extraction(used, needs, len(dataset))
    size = max(1, min(BATCH, len(dataset) // distributed.world_size()))  # a part for every process
    for first in tiles(len(dataset), size):
        images, labels = dataset.read(range(first, min(first + size, len(dataset))))
        extraction.see(images.to(device), first)
        watch(images, labels)
    return extraction.statistics()


def _measured(
    source: RealStatistics,
    needs: Collection[FeatureStatistics],
    plan: EvaluationPlan,
    extractors: Mapping[str, FeatureExtractor],
    device: torch.device,
) -> dict[FeatureStatistics, Statistics]:
    """Measure a source's images. Raises UsageError if they are of another size, or not those of its statistics."""
    assert source.dataset is not None
    dataset, digest = source.dataset(), ContentDigest()
    _require_shape(source.name, dataset.image_spec.shape, plan)
    measured = measure_dataset(dataset, extractors, needs, device, digest.update)
    known = source.facts.get("dataset_digest")
    if known and distributed.world_size() == 1 and digest.hexdigest() != known:
        raise UsageError(
            f"the data set {source.facts['dataset']!r} here is not the one that {source.name} was made from; make it again, with "
            f"--metrics for all that you measure."
        )
    return measured


def _open(
    place: Path | PublishedStatistics | str, plan: EvaluationPlan, extractors: Mapping[str, FeatureExtractor]
) -> RealStatistics:
    """One place in which to look for statistics. Raises UsageError if it cannot be read or is of another protocol."""
    if isinstance(place, PublishedStatistics):
        source = _published(fetch(place.asset), place, plan)
    elif Path(place).suffix == ".safetensors":
        source = _own(Path(place))
    elif Path(place).suffix == ".npz":
        source = _published(Path(place), _known(Path(place)), plan)
    else:
        source = _dataset(str(place))
    _require_same(source, plan, extractors)
    return source


def _own(file: Path) -> RealStatistics:
    """A file that ``bench stats`` wrote."""
    tensors, meta = load_tensors(file)
    texts = all(isinstance(meta.get(name), str) for name in ("protocol", "dataset", "tensors_sha256"))
    if not texts or not isinstance(meta.get("extractors"), dict):
        raise UsageError(f"the file {str(file)!r} holds no reference statistics; make some with `bench stats`.")
    if tensors_digest(tensors) != meta["tensors_sha256"]:
        raise UsageError(f"the reference {str(file)!r} is damaged, its numbers are not those it was written with; make it again.")
    statistics: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, _, part = name.rpartition(".")
        statistics.setdefault(group, {})[part] = tensor
    for group, parts in statistics.items():
        d = parts["mu"].shape[-1:] if "mu" in parts else ()
        fits = (
            {"mu", "sigma", "count"} == parts.keys() and parts["mu"].shape == d and parts["sigma"].shape == (*d, *d)
            if group.startswith("moments.")
            else group.startswith("bank.") and "features" in parts and all(t.ndim == 2 for t in parts.values())
        )
        if not fits:
            raise UsageError(f"the file {str(file)!r} holds {shown(group)}, which are no statistics; make it with `bench stats`.")
    facts = {k: v for k, v in meta.items() if k not in ("tensors_sha256", "made_by")}
    options = {"max_size": meta.get("max_size"), "xflip": meta.get("xflip", False)}
    dataset = _dataset(meta["dataset"], **options).dataset if meta["dataset"] in registry.datasets.entries() else None
    return RealStatistics(str(file), {"builder": "bench stats", "sha256": sha256(file)} | facts, statistics, dataset)


def _published(file: Path, known: PublishedStatistics | None, plan: EvaluationPlan) -> RealStatistics:
    """A file in numpy's format, which does not say what it is unless its name is known."""
    content = read_npz(file)
    facts: dict[str, Any] = {"builder": UNKNOWN, "sha256": sha256(file)}
    extractor = known.extractor if known else next(iter(extractors_with(plan.protocol, "pool")), "")
    if known:
        facts |= {name: getattr(known, name) for name in ("builder", "dataset", "split", "images")}
        facts["extractors"] = {known.extractor: _published_digest(known.extractor)}
    statistics: dict[str, Statistics] = {}
    if content.moments is not None:
        statistics[f"moments.{extractor}.pool"] = content.moments
    if content.features is not None:
        statistics[f"bank.{extractor}.pool"] = {"features": content.features}
    dataset = (lambda: InMemory(content.images())) if content.has_images else None
    return RealStatistics(str(file), facts, statistics, dataset)


def _dataset(name: str, **options: Any) -> RealStatistics:
    path = Path(name)
    opened = find_dataset(name)  # an unknown name is found here
    return RealStatistics(
        f"the data set {name!r}",
        {"builder": "this evaluation", "dataset": path.name if path.exists() else name} | options,
        dataset=lambda: prepared(opened(), **options),
    )


def _known(file: Path) -> PublishedStatistics | None:
    """The published statistics of this file's name, in whichever protocol; none if the file is known to be another."""
    for name in registry.protocols.entries():
        try:
            references = registry.protocols.get(name).references
        except UsageError:
            continue  # a broken plugin leaves the others alone
        for place in (place for places in references.values() for place in places):
            if isinstance(place, PublishedStatistics) and place.asset.file == file.name:
                return place if not file.exists() or place.asset.digest() in (None, sha256(file)) else None
    return None


def _published_digest(extractor: str) -> str | None:
    assets = registry.extractors.get(extractor).assets
    return assets[0].sha256 if assets else None


def _require_same(source: RealStatistics, plan: EvaluationPlan, extractors: Mapping[str, FeatureExtractor]) -> None:
    """Raise UsageError if statistics are of another extractor, other weights, another data set or other images."""
    protocol, subject, made = plan.protocol, plan.target, source.facts.get("extractors")
    if made is not None and not made.keys() & extractors.keys():
        theirs = source.facts.get("protocol") or f"{source.facts['builder']} with the extractor {', '.join(made)}"
        raise UsageError(
            f"the reference {source.name} is of another protocol, {theirs}; {protocol.id} uses the extractor "
            f"{', '.join(extractors)}, and its numbers would not compare."
        )
    for name in (made or {}).keys() & extractors.keys():
        assert made
        if made[name] not in (None, extractors[name].digest()):
            raise UsageError(
                f"the reference {source.name} was made with weights {made[name][:12]} of the extractor {name!r}, those of "
                f"{protocol.id} here are {extractors[name].digest()[:12]}; make it again with `bench stats`."
            )
    dataset = source.facts.get("dataset")
    names = registry.datasets.entries()
    if dataset in names and subject.dataset in names and dataset != subject.dataset:
        raise UsageError(
            f"the reference {source.name} is of the data set {dataset!r}, the images of {subject.name!r} are to be like "
            f"{subject.dataset!r}; give a reference of that."
        )
    if (shape := source.facts.get("shape")) is not None:
        _require_shape(source.name, tuple(shape), plan)


def _require_shape(name: str, shape: tuple[int, ...], plan: EvaluationPlan) -> None:
    subject = plan.target
    if shape != subject.image_spec.shape:
        theirs, ours = ("x".join(map(str, s)) for s in (shape, subject.image_spec.shape))
        raise UsageError(f"the reference {name} is of {theirs} images, those of {subject.name!r} are {ours}.")


def _on(statistics: Statistics, device: torch.device) -> Statistics:
    return {name: t.to(device) for name, t in statistics.items()}
