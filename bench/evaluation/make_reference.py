"""Reference statistics: a data set measured once under a protocol, in a file that says how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench import distributed, registry
from bench.errors import UsageError
from bench.evaluation.extraction import FeatureStatistics
from bench.evaluation.plan import extractors_with, make_metric
from bench.evaluation.reference import measure_dataset
from bench.files.atomic import require_writable
from bench.files.tensors import save_tensors, tensors_digest
from bench.plugin.accumulators import FeatureBank
from bench.plugin.dataset import ContentDigest, Dataset, find_dataset, prepared
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.metric import FeatureMetric
from bench.plugin.protocol import Protocol
from bench.runs.events import Observer, Working, ignore

CPU = torch.device("cpu")


def write_reference(
    name: str,
    output: Path,
    *,
    path: Path | None = None,
    protocol_id: str | None = None,
    metrics: Sequence[str] | None = None,
    extractor_path: str | None = None,
    held_out: str | None = None,
    xflip: bool = False,
    max_size: int | None = None,
    plugins: Sequence[str] = (),
    device: torch.device = CPU,
    observe: Observer = ignore,
) -> str:
    """Measure a data set under a protocol and write the statistics; returns a line that describes them.

    Args:
        name, path: as for ``open_dataset``.
        protocol_id: by default that of the teachers trained on this data set.
        metrics: whose needs are met; by default the protocol's own metrics.
        extractor_path: weights of the protocol's extractor, in place of the usual ones.
        held_out: a data set, by name or path, of real images that are not in this one; memorization compares with them.
        xflip, max_size: EDM's options, see ``prepared``.
        observe: told how many of the images are done.

    Raises UsageError, before any work, for what cannot be measured.
    """
    distributed.require_one("bench stats")
    require_writable(output.parent, "folder")
    if output.suffix != ".safetensors" or output.is_dir():
        raise UsageError(f"statistics are written as safetensors, given {str(output)!r}; name a file that ends in .safetensors.")
    opened, others = find_dataset(name, path), held_out and find_dataset(held_out)
    protocol: Protocol = registry.protocols.get(protocol_id or usual_protocol(name))
    wanted = _comparing(protocol, metrics)
    needs = list(
        dict.fromkeys(
            FeatureStatistics(extractors_with(protocol, m.feature)[0], m.feature, m.reference_statistics)
            for m in wanted.values()
            if m.reference_statistics
        )
    )
    if held_out and all(need.kind is not FeatureBank for need in needs):
        raise UsageError("held-out images are for metrics that compare images one by one; add --metrics memorization.")
    extractors: dict[str, type[FeatureExtractor]] = {need.extractor: registry.extractors.get(need.extractor) for need in needs}
    dataset = prepared(opened(), max_size=max_size, xflip=xflip)  # only now, as it may have to be downloaded
    for extractor in extractors.values():
        extractor.require(dataset.image_spec, name, protocol.id)
    for metric_name, metric in wanted.items():
        if len(dataset) < metric.fewest:
            raise UsageError(
                f"the metric {metric_name!r} needs at least {metric.fewest} images, and {name!r} has {len(dataset)}; "
                "give a larger data set or raise --max-size."
            )
    weights = Path(extractor_path) if extractor_path else None
    loaded = {n: e(weights if n == next(iter(extractors)) else None).to(device) for n, e in extractors.items()}
    digest, seen = ContentDigest(), 0

    def watch(images: Tensor, labels: Tensor | None) -> None:
        nonlocal seen
        digest.update(images, labels)
        seen += len(images)
        observe(Working("measuring", seen, len(dataset)))

    tensors = _tensors(dataset, loaded, needs, device, watch)
    if others:
        banks = [need for need in needs if need.kind is FeatureBank]
        unseen = _tensors(others(), loaded, banks, device)
        tensors |= {f"{name.removesuffix('features')}held_out": tensor for name, tensor in unseen.items()}
    short = name if name in registry.datasets.entries() else _base(name)
    options = {
        "path": path and _base(path),
        "protocol": protocol_id,
        "metrics": ",".join(metrics) if metrics else None,
        "held-out": held_out and (held_out if held_out in registry.datasets.entries() else _base(held_out)),
        "extractor-path": extractor_path and _base(extractor_path),
        "xflip": xflip,
        "max-size": max_size,
        "device": device if device.type != "cpu" else None,
    }
    digests = {n: e.digest() for n, e in loaded.items()}
    meta = {
        "made_by": _command(short, options, plugins),
        "dataset": short,
        "dataset_digest": digest.hexdigest(),
        "images": len(dataset),
        "shape": list(dataset.image_spec.shape),
        "max_size": max_size,
        "xflip": xflip,
        "held_out": options["held-out"],
        "protocol": protocol.id,
        "extractors": digests,
        "tensors_sha256": tensors_digest(tensors),
    }
    save_tensors(output, tensors, meta)
    weights_of = ", ".join(f"{n} {short_digest[:12]}" for n, short_digest in digests.items())
    return f"{len(dataset):,} images of {short}, {', '.join(sorted(need.key for need in needs))}, {protocol.id}, {weights_of}"


def _tensors(
    dataset: Dataset,
    extractors: Mapping[str, FeatureExtractor],
    needs: Sequence[FeatureStatistics],
    device: torch.device,
    watch: Callable[[Tensor, Tensor | None], None] = lambda images, labels: None,
) -> dict[str, Tensor]:
    """The statistics of a data set under the names that they have in a file."""
    measured = measure_dataset(dataset, extractors, needs, device, watch)
    return {f"{need.key}.{part}": t for need, own in measured.items() for part, t in own.items() if part != "root"}


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
    for name in registry.teachers.entries():
        try:
            teacher = registry.teachers.get(name)
        except UsageError:
            continue  # a broken plugin leaves the others alone
        if teacher.known_before_loading and teacher.dataset == dataset and teacher.protocol:
            found.add(teacher.protocol)
    if len(found) != 1:
        why = f"its teachers use several protocols, {', '.join(sorted(found))}" if found else "no teacher was trained on it"
        raise UsageError(
            f"no protocol follows from the data set {dataset!r}, as {why}; "
            f"choose one with --protocol ({', '.join(registry.protocols.entries())})."
        )
    usual: str = found.pop()
    if usual not in registry.protocols.entries():
        raise UsageError(
            f"the teachers of {dataset!r} are measured by the protocol {usual!r}, which is not there; choose "
            f"another with --protocol ({', '.join(registry.protocols.entries())})."
        )
    return usual


def _comparing(protocol: Protocol, names: Sequence[str] | None) -> dict[str, FeatureMetric]:
    """Those of these metrics, the protocol's unless others are named, that compare with real images; an error if none does."""
    made = {name: make_metric(name, protocol) for name in names or protocol.metrics}
    comparing = {name: m for name, m in made.items() if isinstance(m, FeatureMetric) and m.reference_statistics}
    if not comparing:
        raise UsageError(f"none of the metrics {', '.join(made)} of {protocol.id} compares with real images; choose --metrics.")
    return comparing
