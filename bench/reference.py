"""Reference statistics: a data set measured once under a protocol, in a file that says how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench import registry
from bench.checkpoint import save_tensors, tensors_digest
from bench.dataset import ContentDigest, Dataset, find_dataset, prepared
from bench.errors import UsageError
from bench.evaluate import reference_statistics
from bench.files import require_writable
from bench.protocol import FeatureExtractor, Metric, Protocol


def write_reference(
    name: str,
    output: Path,
    *,
    path: Path | None = None,
    protocol_id: str | None = None,
    xflip: bool = False,
    max_size: int | None = None,
    plugins: Sequence[str] = (),
    device: torch.device | None = None,
    report: Callable[[float], None] = lambda fraction: None,
) -> str:
    """Measure a data set under a protocol and write the statistics; returns a line that describes them.

    Args:
        name, path: as for ``open_dataset``.
        protocol_id: by default that of the teachers trained on this data set.
        xflip, max_size: EDM's options, see ``prepared``.
        report: told which fraction of the images is done.

    Raises UsageError, before any work, for what cannot be measured.
    """
    require_writable(output.parent, "folder")
    opened = find_dataset(name, path)
    protocol: Protocol = registry.get("protocol", protocol_id or usual_protocol(name))
    dataset = prepared(opened(), max_size=max_size, xflip=xflip)  # only now, as it may have to be downloaded
    torch.set_num_threads(1)  # the order of additions, and so the last bit, depends on the number of threads
    extractor: FeatureExtractor = registry.get("extractor", protocol.extractor)().to(device or torch.device("cpu"))
    metrics = _measurable(protocol, extractor, dataset, name)
    digest, seen = ContentDigest(), 0

    def watch(images: Tensor, labels: Tensor | None) -> None:
        nonlocal seen
        digest.update(images, labels)
        seen += len(images)
        report(seen / len(dataset))

    statistics = reference_statistics(extractor, dataset, metrics, device, watch)
    tensors = {f"{metric}.{key}": t for metric, own in statistics.items() for key, t in own.items()}
    short = name if name in registry.entries("dataset") else _base(name)
    options = {
        "path": path and _base(path),
        "protocol": protocol_id,
        "xflip": xflip,
        "max-size": max_size,
        "device": device if device and device.type != "cpu" else None,
    }
    meta = {
        "made_by": _command(short, options, plugins),
        "dataset": short,
        "dataset_digest": digest.hexdigest(),
        "images": len(dataset),
        "max_size": max_size,
        "xflip": xflip,
        "protocol": protocol.id,
        "extractor": protocol.extractor,
        "extractor_digest": extractor.digest(),
        "tensors_sha256": tensors_digest(tensors),
    }
    save_tensors(output, tensors, meta)
    return f"{len(dataset):,} images of {short}, {', '.join(metrics)}, {protocol.id}, extractor {extractor.digest()[:12]}"


def _base(path: str | Path) -> str:
    """The last part of a path: where a file lies on this machine is nobody else's business."""
    return Path(path).absolute().name


def _command(dataset: str, options: Mapping[str, object], plugins: Sequence[str]) -> str:
    words = ["bench", "stats", dataset]
    for name, value in [*options.items(), *(("plugin", _base(file)) for file in plugins)]:
        words += [] if not value else [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)


def usual_protocol(dataset: str) -> str:
    """The protocol of the teachers trained on this data set. Raises UsageError if there is none, or more than one."""
    found = set()
    for name in registry.entries("teacher"):
        try:
            teacher = registry.get("teacher", name)
        except UsageError:
            continue  # a broken plugin leaves the others alone
        if getattr(teacher, "dataset", None) == dataset:
            found.add(teacher.protocol)
    if len(found) != 1:
        why = f"its teachers use several protocols, {', '.join(sorted(found))}" if found else "no teacher was trained on it"
        raise UsageError(
            f"no protocol follows from the data set {dataset!r}, as {why}; "
            f"choose one with --protocol ({', '.join(registry.entries('protocol'))})."
        )
    usual: str = found.pop()
    if usual not in registry.entries("protocol"):
        raise UsageError(
            f"the teachers of {dataset!r} are measured by the protocol {usual!r}, which this version does not have yet; choose "
            f"another with --protocol ({', '.join(registry.entries('protocol'))})."
        )
    return usual


def _measurable(protocol: Protocol, extractor: FeatureExtractor, dataset: Dataset, name: str) -> dict[str, type[Metric]]:
    """The metrics that have reference statistics under this protocol, by name. Raises UsageError if it cannot measure the set."""
    extractor.require(dataset.images, name, protocol.id)
    metrics: dict[str, type[Metric]] = {m: registry.get("metric", m) for m in registry.entries("metric")}
    found = {m: metric for m, metric in metrics.items() if metric.needs_reference and metric.feature in extractor.features}
    if not found:
        raise UsageError(
            f"no metric that needs a reference uses a feature of {protocol.id} ({', '.join(extractor.features)}); "
            "choose another --protocol."
        )
    for metric_name, metric in found.items():
        if len(dataset) < metric.fewest:
            raise UsageError(
                f"the metric {metric_name!r} needs at least {metric.fewest} images, and {name!r} has {len(dataset)}; "
                "give a larger data set or raise --max-size."
            )
    return found
