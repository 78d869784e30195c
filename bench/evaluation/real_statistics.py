"""Statistics of real images as they are found: in a file of this suite or of others, or to be
measured from a data set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bench import registry
from bench.errors import UsageError, shown
from bench.evaluation.plan import EvaluationPlan, extractors_with
from bench.files.assets import fetch
from bench.files.atomic import sha256
from bench.files.npz import read_npz
from bench.files.tensors import load_tensors, tensors_digest
from bench.plugin.accumulators import Moments, Statistics
from bench.plugin.dataset import Dataset, InMemory, find_dataset, prepared
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.protocol import PublishedStatistics

UNKNOWN = "unknown"
"""Builder of a file that does not say what it is."""


@dataclass(frozen=True)
class RealStatistics:
    """Statistics of real images from one source, and the images themselves where others can be
    measured from them.
    """

    name: str
    facts: dict[str, Any]
    """Builder, data set, split, number of images, and digests: of the file, and of the extractors
    behind it.
    """
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    """By kind, extractor and feature, such as ``moments.inception.pool``."""
    open_dataset: Callable[[], Dataset] | None = None


def open_statistics(
    place: Path | PublishedStatistics | str,
    plan: EvaluationPlan,
    extractors: Mapping[str, FeatureExtractor],
) -> RealStatistics:
    """Open one place in which to look for statistics. Raises UsageError if it cannot be read or is
    of another protocol.
    """
    if isinstance(place, PublishedStatistics):
        source = _from_npz(fetch(place.asset), place, plan)
    elif Path(place).suffix == ".safetensors":
        source = _from_safetensors(Path(place))
    elif Path(place).suffix == ".npz":
        source = _from_npz(Path(place), _published_under_name(Path(place)), plan)
    else:
        source = _from_dataset(str(place))
    _require_same_extractors(source, plan, extractors)
    _require_same_images(source, plan)
    return source


def _from_safetensors(file: Path) -> RealStatistics:
    """A file that ``bench stats`` wrote."""
    tensors, meta = load_tensors(file)
    texts = all(isinstance(meta.get(name), str) for name in ("protocol", "dataset", "tensors_sha256"))
    if not texts or not isinstance(meta.get("extractors"), dict):
        raise UsageError(
            f"the file {str(file)!r} holds no reference statistics; make some with `bench stats`."
        )
    if tensors_digest(tensors) != meta["tensors_sha256"]:
        raise UsageError(
            f"the reference {str(file)!r} is damaged, its numbers are not those it was written "
            "with; make it again."
        )
    statistics: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key, _, part = name.rpartition(".")
        statistics.setdefault(key, {})[part] = tensor
    for key, parts in statistics.items():
        if not _are_statistics(key, parts):
            raise UsageError(
                f"the file {str(file)!r} holds {shown(key)}, which are no statistics; make it "
                "with `bench stats`."
            )
    facts = {k: v for k, v in meta.items() if k not in ("tensors_sha256", "made_by")}
    options = {"max_size": meta.get("max_size"), "xflip": meta.get("xflip", False)}
    named = meta["dataset"] in registry.datasets.entries()
    dataset = _from_dataset(meta["dataset"], **options).open_dataset if named else None
    return RealStatistics(
        str(file), {"builder": "bench stats", "sha256": sha256(file)} | facts, statistics, dataset
    )


def _are_statistics(key: str, parts: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the names and shapes of what an accumulator keeps."""
    if key.startswith(("moments.", "held-out-moments.")):
        d = parts["mu"].shape[-1:] if "mu" in parts else ()
        whole = parts.keys() == {"mu", "sigma", "count"}
        return whole and parts["mu"].shape == d and parts["sigma"].shape == (*d, *d)
    return key.startswith("bank.") and "features" in parts and all(t.ndim == 2 for t in parts.values())


def _from_npz(file: Path, known: PublishedStatistics | None, plan: EvaluationPlan) -> RealStatistics:
    """A file in numpy's format, which does not say what it is unless its name is known."""
    content = read_npz(file)
    facts: dict[str, Any] = {"builder": UNKNOWN, "sha256": sha256(file)}
    extractor = known.extractor if known else next(iter(extractors_with(plan.protocol, "pool")), "")
    if known:
        facts |= {name: getattr(known, name) for name in ("builder", "dataset", "split", "images")}
        weights = registry.extractors.get(known.extractor).assets
        facts["extractors"] = {known.extractor: weights[0].sha256 if weights else None}
    statistics: dict[str, Statistics] = {}
    if content.moments is not None:
        statistics[f"moments.{extractor}.pool"] = content.moments
    if content.features is not None:
        statistics[f"bank.{extractor}.pool"] = {"features": content.features}
        if content.moments is None:  # as clean-fid keeps them for its KID
            moments = Moments(len(content.features))
            moments.update(content.features, 0)
            statistics[f"moments.{extractor}.pool"] = moments.statistics()
    dataset = (lambda: InMemory(content.images())) if content.has_images else None
    return RealStatistics(str(file), facts, statistics, dataset)


def _from_dataset(name: str, **options: Any) -> RealStatistics:
    """A data set by name or path, from which everything is measured; an unknown one is refused now."""
    path, open_unprepared = Path(name), find_dataset(name, labels=False)
    return RealStatistics(
        f"the data set {name!r}",
        {"builder": "this evaluation", "dataset": path.name if path.exists() else name} | options,
        open_dataset=lambda: prepared(open_unprepared(), **options),
    )


def _published_under_name(file: Path) -> PublishedStatistics | None:
    """The published statistics of this file's name, in whichever protocol; None if the file is
    known to be another.
    """
    for name in registry.protocols.entries():
        try:
            references = registry.protocols.get(name).references
        except UsageError:
            continue  # a broken plugin leaves the others alone
        for place in (place for places in references.values() for place in places):
            if isinstance(place, PublishedStatistics) and place.asset.file == file.name:
                same = not file.exists() or place.asset.digest() in (None, sha256(file))
                return place if same else None
    return None


def _require_same_extractors(
    source: RealStatistics, plan: EvaluationPlan, extractors: Mapping[str, FeatureExtractor]
) -> None:
    """Raise UsageError if statistics are of another extractor than the plan's, or of other weights."""
    protocol, digests = plan.protocol, source.facts.get("extractors")
    if digests is None:
        return
    shared = digests.keys() & extractors.keys()
    if not shared:
        theirs = (
            source.facts.get("protocol")
            or f"{source.facts['builder']} with the extractor {', '.join(digests)}"
        )
        raise UsageError(
            f"the reference {source.name} is of another protocol, {theirs}; {protocol.id} uses the extractor "
            f"{', '.join(extractors)}, and its numbers would not compare."
        )
    for name in shared:
        if digests[name] not in (None, extractors[name].digest()):
            raise UsageError(
                f"the reference {source.name} was made with weights {digests[name][:12]} of the "
                f"extractor {name!r}, those of {protocol.id} here are "
                f"{extractors[name].digest()[:12]}; make it again with `bench stats`."
            )


def _require_same_images(source: RealStatistics, plan: EvaluationPlan) -> None:
    """Raise UsageError if statistics are of another data set than the target's, or of images of
    another size.
    """
    dataset, target = source.facts.get("dataset"), plan.target
    names = registry.datasets.entries()
    if dataset in names and target.dataset in names and dataset != target.dataset:
        raise UsageError(
            f"the reference {source.name} is of the data set {dataset!r}, the images of "
            f"{target.name!r} are to be like {target.dataset!r}; give a reference of that."
        )
    if (shape := source.facts.get("shape")) is not None:
        require_shape(source.name, tuple(shape), plan)


def require_shape(name: str, shape: tuple[int, ...], plan: EvaluationPlan) -> None:
    """Raise UsageError if images (C, H, W) of a reference are not of the size of the target's."""
    if shape != plan.target.image_spec.shape:
        raise UsageError(
            f"the reference {name} is of {'x'.join(map(str, shape))} images, those of "
            f"{plan.target.name!r} are {plan.target.image_spec}."
        )
