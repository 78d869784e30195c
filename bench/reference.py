"""Statistics of real images: read from a file that fits the protocol, or measured from a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.accumulators import Statistics
from bench.assets import fetch
from bench.checkpoint import load_tensors, tensors_digest
from bench.dataset import Dataset, InMemory, find_dataset, prepared
from bench.errors import UsageError
from bench.extraction import Extraction, Need, tiles
from bench.extractor import FeatureExtractor
from bench.files import sha256
from bench.measuring import Measuring
from bench.npz import read_npz
from bench.protocol import PublishedStatistics

BATCH = 250
"""Real images measured at once."""


@dataclass(frozen=True)
class Source:
    """Statistics by kind and feature, ``moments.pool``; and real images from which others can be measured, if there are any."""

    name: str
    facts: dict[str, Any]
    """Builder, data set, split, number of images, and digests: of the file, and of the extractors behind it."""
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    dataset: Callable[[], Dataset] | None = None


class References:
    """What the metrics of a measurement compare with."""

    def __init__(
        self,
        measuring: Measuring,
        extractors: Mapping[str, FeatureExtractor],
        device: torch.device,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.facts: list[dict[str, Any]] = []
        """Of every source that was used, as they are stored with the numbers."""
        comparing = {name: m for name, m in measuring.feature_metrics.items() if m.compares}
        missing: list[Need] = list(dict.fromkeys((m.feature, m.compares) for m in comparing.values() if m.compares))
        found: dict[Need, Statistics] = {}
        for place in measuring.sources:
            if not missing:
                break
            if isinstance(place, PublishedStatistics) and all(key(need) != f"{place.kind}.pool" for need in missing):
                continue  # not worth a download
            source = _open(place, measuring, extractors)
            own = {need: _on(source.statistics[key(need)], device) for need in missing if key(need) in source.statistics}
            if source.dataset is not None and (more := [need for need in missing if need not in own]):
                note(f"measuring the real images of {source.facts.get('dataset', source.name)}")
                own |= measure_dataset(source.dataset(), list(extractors.values()), more, device)
            found |= own
            missing = [need for need in missing if need not in own]
            if own:
                self.facts.append(source.facts)
        for name, metric in comparing.items():
            assert metric.compares
            if (metric.feature, metric.compares) in missing:
                raise UsageError(
                    f"the metric {name!r} needs {_WORDS[metric.compares.name]} of real images in the feature {metric.feature!r}, "
                    f"and {measuring.reference!r} has none; make a file that does by "
                    f"`bench stats DATASET --protocol {measuring.protocol.family}-... --metrics {name}`."
                )
        self.prepared = {
            name: metric.prepare(found[metric.feature, metric.compares]) for name, metric in comparing.items() if metric.compares
        }


_WORDS = {"moments": "mean and covariance", "bank": "all features"}


def key(need: Need) -> str:
    """Under which statistics stand in a file."""
    feature, kind = need
    return f"{getattr(kind, 'name', kind)}.{feature}"


def measure_dataset(
    dataset: Dataset,
    extractors: Collection[FeatureExtractor],
    needs: Collection[Need],
    device: torch.device | None = None,
    watch: Callable[[Tensor, Tensor | None], None] = lambda images, labels: None,
) -> dict[Need, Statistics]:
    """Statistics of real images; ``watch`` is shown every batch of images and labels on its way."""
    extraction = Extraction(extractors, needs, len(dataset))
    for first in tiles(len(dataset), BATCH):
        images, labels = dataset.read(range(first, min(first + BATCH, len(dataset))))
        extraction.see(images.to(device), first)
        watch(images, labels)
    return extraction.statistics()


def identity(measuring: Measuring) -> str:
    """What a recipe knows of the reference before anything is fetched: digests of files, names of the rest."""
    parts = []
    for place in measuring.sources:
        if isinstance(place, PublishedStatistics):
            parts.append(place.asset.sha256 or place.asset.id)
        else:
            file = Path(place)
            parts.append(sha256(file) if file.is_file() else str(place))
    return " ".join(parts)


def _open(place: Path | PublishedStatistics | str, measuring: Measuring, extractors: Mapping[str, FeatureExtractor]) -> Source:
    """One place in which to look for statistics. Raises UsageError if it cannot be read or is of another protocol."""
    if isinstance(place, PublishedStatistics):
        source = _published(fetch(place.asset), place)
    elif str(place).endswith(".safetensors"):
        source = _own(Path(place))
    elif str(place).endswith(".npz"):
        source = _published(Path(place), _known(Path(place).name))
    else:
        return _dataset(str(place))
    _require_same(source, measuring, extractors)
    return source


def _own(file: Path) -> Source:
    """A file that ``bench stats`` wrote."""
    tensors, meta = load_tensors(file)
    if not {"extractors", "protocol", "dataset", "tensors_sha256"} <= meta.keys():
        raise UsageError(f"the file {str(file)!r} holds no reference statistics; make some with `bench stats`.")
    if tensors_digest(tensors) != meta["tensors_sha256"]:
        raise UsageError(f"the reference {str(file)!r} is damaged, its numbers are not those it was written with; make it again.")
    statistics: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        feature, _, part = rest.rpartition(".")
        statistics.setdefault(f"{kind}.{feature}", {})[part] = tensor
    facts = {k: meta[k] for k in ("dataset", "images", "max_size", "xflip", "protocol", "extractors", "shape") if k in meta}
    options = {"max_size": meta.get("max_size"), "xflip": meta.get("xflip", False)}
    dataset = _dataset(meta["dataset"], **options).dataset if meta["dataset"] in registry.entries("dataset") else None
    return Source(str(file), {"builder": "bench stats", "sha256": sha256(file)} | facts, statistics, dataset)


def _published(file: Path, known: PublishedStatistics | None) -> Source:
    """A file in numpy's format, which does not say what it is unless its name is known."""
    content = read_npz(file)
    facts: dict[str, Any] = {"builder": "unknown", "sha256": sha256(file)}
    if known:
        facts |= {name: getattr(known, name) for name in ("builder", "dataset", "split", "images")}
        facts["extractors"] = {known.extractor: _published_digest(known.extractor)}
    statistics: dict[str, Statistics] = {}
    if content.moments is not None:
        statistics["moments.pool"] = content.moments
    if content.features is not None:
        statistics["bank.pool"] = {"features": content.features}
    dataset = (lambda: InMemory(content.images())) if content.has_images else None
    return Source(str(file), facts, statistics, dataset)


def _dataset(name: str, **options: Any) -> Source:
    path = Path(name)
    opened = find_dataset(name)
    return Source(
        f"the data set {name!r}",
        {"builder": "this evaluation", "dataset": path.name if path.exists() else name} | options,
        dataset=lambda: prepared(opened(), **options),
    )


def _known(file: str) -> PublishedStatistics | None:
    """The published statistics of this file name, in whichever protocol."""
    for name in registry.entries("protocol"):
        try:
            references = registry.get("protocol", name).references
        except UsageError:
            continue  # a broken plugin leaves the others alone
        for place in (place for places in references.values() for place in places):
            if isinstance(place, PublishedStatistics) and place.asset.file == file:
                return place
    return None


def _published_digest(extractor: str) -> str | None:
    assets = registry.get("extractor", extractor).assets
    return assets[0].sha256 if assets else None


def _require_same(source: Source, measuring: Measuring, extractors: Mapping[str, FeatureExtractor]) -> None:
    """Raise UsageError if statistics are of another extractor, other weights, another data set or other images."""
    protocol, subject, made = measuring.protocol, measuring.subject, source.facts.get("extractors")
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
    names = registry.entries("dataset")
    if dataset in names and subject.dataset in names and dataset != subject.dataset:
        raise UsageError(
            f"the reference {source.name} is of the data set {dataset!r}, the images of {subject.name!r} are to be like "
            f"{subject.dataset!r}; give a reference of that."
        )
    shape = source.facts.get("shape")
    if shape is not None and tuple(shape) != subject.images.shape:
        theirs, ours = ("x".join(map(str, s)) for s in (shape, subject.images.shape))
        raise UsageError(f"the reference {source.name} is of {theirs} images, those of {subject.name!r} are {ours}.")


def _on(statistics: Statistics, device: torch.device) -> Statistics:
    return {name: t.to(device) for name, t in statistics.items()}
