"""Making a file of reference statistics: a data set measured once under a protocol, in a file that
says how it was made.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench import distributed, registry
from bench.errors import UsageError
from bench.evaluation.extraction import FeatureStatistics
from bench.evaluation.plan import make_metric, reference_needs
from bench.evaluation.reference import measure_dataset
from bench.files.atomic import require_writable
from bench.files.tensors import save_tensors, tensors_digest
from bench.plugin.accumulators import FeatureBank
from bench.plugin.dataset import Dataset, find_dataset, prepared
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.metric import FeatureMetric
from bench.plugin.protocol import Protocol
from bench.runs.events import Observer, ignore

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
    """Measure a data set under a protocol and write the statistics; return a line that describes them.

    Args:
        name, path: as for ``open_dataset``.
        output: the safetensors file to write.
        protocol_id: by default that of the teachers trained on this data set.
        metrics: those that are to compare with the statistics; by default the protocol's own.
        extractor_path: weights of the protocol's extractor, in place of the usual ones.
        held_out: a data set, by name or path, of real images that are not in this one; memorization
            compares with them.
        xflip, max_size: EDM's options, see ``prepared``.
        plugins: plugin files that were loaded, for the command that the file states.
        device: where features are computed.
        observe: is shown how many of the images are done.

    Raises UsageError, before any work, for what cannot be measured.
    """
    distributed.require_one("bench stats")
    _require_output(output)
    open_dataset, open_held_out = (
        find_dataset(name, path, labels=False),
        find_dataset(held_out) if held_out else None,
    )
    protocol = registry.protocols.get(protocol_id or usual_protocol(name))
    comparing = _comparing(protocol, metrics)
    needs = list(dict.fromkeys(reference_needs(protocol, comparing).values()))
    seen = [need for need in needs if not need.held_out]
    unseen = [need for need in needs if need.kind is FeatureBank or need.held_out]
    _require_held_out(held_out, comparing, unseen)
    classes = {need.extractor: registry.extractors.get(need.extractor) for need in needs}
    # Only now, as the data set may have to be downloaded.
    dataset = prepared(open_dataset(), max_size=max_size, xflip=xflip)
    _require_measurable(name, dataset, protocol, classes, comparing)
    weights = Path(extractor_path) if extractor_path else None
    extractors = {
        n: cls(weights if n == next(iter(classes)) else None).to(device) for n, cls in classes.items()
    }
    tensors, digest = _measure(dataset, extractors, seen, device, observe)
    if open_held_out is not None:
        others, _ = _measure(open_held_out(), extractors, unseen, device)
        tensors |= {re.sub(r"\.features$", ".held_out", key): tensor for key, tensor in others.items()}
    meta = {
        "made_by": _command(
            _short(name),
            ("path", path and _last_part(path)),
            ("protocol", protocol_id),
            ("metrics", ",".join(metrics or ())),
            ("held-out", held_out and _short(held_out)),
            ("extractor-path", extractor_path and _last_part(extractor_path)),
            ("xflip", xflip),
            ("max-size", max_size),
            ("device", device if device.type != "cpu" else None),
            *(("plugin", _last_part(plugin)) for plugin in plugins),
        ),
        "dataset": _short(name),
        "dataset_digest": digest,
        "images": len(dataset),
        "shape": list(dataset.image_spec.shape),
        "max_size": max_size,
        "xflip": xflip,
        "held_out": held_out and _short(held_out),
        "protocol": protocol.id,
        "extractors": {n: extractor.digest() for n, extractor in extractors.items()},
        "tensors_sha256": tensors_digest(tensors),
    }
    save_tensors(output, tensors, meta)
    parts = [
        f"{len(dataset):,} images of {_short(name)}",
        *sorted(need.key for need in needs),
        protocol.id,
    ]
    parts += [f"{n} {extractor.digest()[:12]}" for n, extractor in extractors.items()]
    return ", ".join(parts)


def _require_output(output: Path) -> None:
    """Raise UsageError for a file that could not be written, or that is not named as safetensors."""
    require_writable(output.parent, "folder")
    if output.suffix != ".safetensors" or output.is_dir():
        raise UsageError(
            f"statistics are written as safetensors, given {str(output)!r}; name a file that ends "
            "in .safetensors."
        )


def _comparing(protocol: Protocol, names: Sequence[str] | None) -> dict[str, FeatureMetric]:
    """Those of the named metrics, or of the protocol's, that compare with real images; an error if
    none does.
    """
    metrics = {name: make_metric(name, protocol) for name in names or protocol.metrics}
    comparing = {
        name: metric
        for name, metric in metrics.items()
        if isinstance(metric, FeatureMetric) and metric.reference_statistics
    }
    if not comparing:
        raise UsageError(
            f"none of the metrics {', '.join(metrics)} of {protocol.id} compares with real "
            "images; choose --metrics."
        )
    return comparing


def _require_held_out(
    name: str | None, metrics: Mapping[str, FeatureMetric], needs: Sequence[FeatureStatistics]
) -> None:
    """Raise UsageError where held-out images are missing, or are of no use."""
    if name and not needs:
        raise UsageError(
            "held-out images are for metrics that compare with them; add --metrics memorization or fid-test."
        )
    wanting = [
        n for n, m in metrics.items() if m.reference_statistics and m.reference_statistics.held_out
    ]
    if wanting and not name:
        raise UsageError(
            f"the metric {wanting[0]!r} compares with images that no training has seen; give them by "
            "--held-out, or leave it out of --metrics."
        )


def _require_measurable(
    name: str,
    dataset: Dataset,
    protocol: Protocol,
    extractors: Mapping[str, type[FeatureExtractor]],
    metrics: Mapping[str, FeatureMetric],
) -> None:
    """Raise UsageError for images that an extractor does not take, and for fewer than a metric needs."""
    for extractor in extractors.values():
        extractor.require(dataset.image_spec, name, protocol.id)
    for metric_name, metric in metrics.items():
        if len(dataset) < metric.fewest:
            raise UsageError(
                f"the metric {metric_name!r} needs at least {metric.fewest} images, and {name!r} "
                f"has {len(dataset)}; give a larger data set or raise --max-size."
            )


def _measure(
    dataset: Dataset,
    extractors: Mapping[str, FeatureExtractor],
    needs: Sequence[FeatureStatistics],
    device: torch.device,
    observe: Observer = ignore,
) -> tuple[dict[str, Tensor], str]:
    """The statistics of a data set under the names that they have in a file, and a digest of its images."""
    statistics, digest = measure_dataset(dataset, extractors, needs, device, observe)
    tensors = {
        f"{need.key}.{part}": tensor
        for need, parts in statistics.items()
        for part, tensor in parts.items()
        if part != "root"
    }
    return tensors, digest


def _short(name: str) -> str:
    """The name of a data set, or the last part of its path."""
    return name if name in registry.datasets.entries() else _last_part(name)


def _last_part(path: str | Path) -> str:
    """The last part of a path: where a file lies on this machine is nobody else's business."""
    return Path(path).absolute().name


def _command(dataset: str, *flags: tuple[str, object]) -> str:
    """The command that makes the file, with the flags that have a value."""
    words = ["bench", "stats", dataset]
    for name, value in flags:
        words += [] if not value else [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)


def usual_protocol(dataset: str) -> str:
    """Find the protocol of the teachers trained on a data set. Raises UsageError if there is none,
    or more than one.
    """
    protocols = set()
    for name in registry.teachers.entries():
        try:
            teacher = registry.teachers.get(name)
        except UsageError:
            continue  # a broken plugin leaves the others alone
        if teacher.known_before_loading and teacher.dataset == dataset and teacher.protocol:
            protocols.add(teacher.protocol)
    known = registry.protocols.entries()
    if len(protocols) != 1:
        several = f"its teachers use several protocols, {', '.join(sorted(protocols))}"
        why = several if protocols else "no teacher was trained on it"
        raise UsageError(
            f"no protocol follows from the data set {dataset!r}, as {why}; choose one with "
            f"--protocol ({', '.join(known)})."
        )
    usual = protocols.pop()
    if usual not in known:
        raise UsageError(
            f"the teachers of {dataset!r} are measured by the protocol {usual!r}, which is not there; choose "
            f"another with --protocol ({', '.join(known)})."
        )
    return usual
