"""The facts of methods, teachers, protocols and so on, as ``bench show`` prints them."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from bench import registry
from bench.errors import BenchError, UsageError
from bench.evaluation.plan import make_metric
from bench.factory import find_teacher_class
from bench.files.assets import Asset
from bench.files.code import summary_of
from bench.files.tensors import load_tensors
from bench.plugin.method import Method
from bench.plugin.metric import FeatureMetric
from bench.plugin.protocol import Protocol
from bench.plugin.sampler import Sampler
from bench.runs.card import BY_CODE, Value
from bench.settings import card, choose_settings, recommended

Facts = dict[str, Any]


def method_facts(name: str, teacher: str = "") -> Facts:
    """Collect what a method will use, for a teacher or in general, and where each value comes from."""
    method = registry.methods.get(name)
    if teacher:
        find_teacher_class(teacher)
    data, fields = card(method), method.Settings.model_fields
    found = recommended(method, teacher)
    values = found.values
    tuning = data.tuning.get(teacher)
    return {
        "method": name,
        "summary": summary_of(inspect.getdoc(method)),
        "citation": data.citation,
        "teacher": teacher if found.suited else None,
        "needs": _needs(method, teacher),
        "update": data.price(),
        "settings": {
            key: _setting(fields.get(key), values.get(key)) for key in dict.fromkeys([*fields, *values])
        },
        "tuning": tuning.model_dump() if tuning else None,
        "bibtex": data.bibtex,
    }


def _setting(field: FieldInfo | None, value: Value | None) -> Facts:
    """Give a setting's value, meaning and source; the budget, which stands among them, has no field."""
    meaning = field.description if field else "compute of a run unless --budget says otherwise"
    if value is not None:
        return {"value": value.value, "meaning": meaning, "source": value.source}
    if field is None or field.is_required():
        return {"value": None, "meaning": meaning, "source": "none: must be given"}
    return {"value": field.default, "meaning": meaning, "source": BY_CODE}


def _needs(method: type[Method], teacher: str) -> list[str] | None:
    """Describe what a method requires; None where some of its settings still have to be given."""
    try:
        settings = choose_settings(method, teacher, {}).settings
    except UsageError:
        return None
    return [requirement.describe() for requirement in method.requires(settings)]


def teacher_facts(name: str) -> Facts:
    """Collect a teacher's facts, and those of its weights if they are at hand: nothing is downloaded."""
    teacher_class, source = find_teacher_class(name)
    at_hand = (
        Path(source).exists()
        if source
        else all(asset.path.exists() for asset in teacher_class.assets[:1])
    )
    if source and not at_hand:
        return {
            "teacher": name,
            "weights": "not in a folder here; they are fetched when the teacher is used",
        }
    teacher = teacher_class(None, source) if at_hand else teacher_class
    facts: Facts = {
        "teacher": name,
        "summary": summary_of(inspect.getdoc(teacher_class)),
        "images": dataclasses.asdict(teacher.image_spec),
        "noise": dataclasses.asdict(teacher.noise),
        "sampler": _sampler_facts(teacher.sampler),
        "dataset": teacher.dataset,
        "protocol": teacher.protocol,
    }
    if teacher.published:
        facts["published"] = dataclasses.asdict(teacher.published)
    if teacher.assets:
        facts["files"] = [_asset_facts(asset) for asset in teacher.assets]
    if isinstance(teacher, type):
        return facts | {
            "weights": f"not at hand; get them by `bench fetch teacher:{name}`, or give --teacher-path FILE"
        }
    facts |= {
        "parameters": sum(p.numel() for p in teacher.denoiser.parameters()),
        "digest": teacher.digest(),
    }
    if teacher.note:
        facts["note"] = teacher.note
    if shipped := getattr(teacher_class, "shipped", None):
        facts["weights"] = load_tensors(shipped)[1]
    return facts


def _sampler_facts(sampler: Sampler) -> Facts:
    """Give what matters of a sampler; the churn's settings only if it churns."""
    churn = ("churn", "churn_min", "churn_max", "churn_noise") if sampler.churn else ()
    return {name: getattr(sampler, name) for name in ("steps", "solver", *churn, "nfe")}


def released_facts(name: str) -> Facts:
    """Collect the facts of a released generator."""
    released = registry.released.get(name)
    return {
        "released": name,
        "method": released.method,
        "teacher": released.teacher,
        "sigmas": list(released.sigmas),
        "nfe": len(released.sigmas),
        "published": dataclasses.asdict(released.published) if released.published else None,
        "files": [_asset_facts(asset) for asset in released.assets],
    }


def protocol_facts(name: str) -> Facts:
    """Collect what a protocol fixes: images, metrics with their features, and references."""
    protocol = registry.protocols.get(name)
    return {
        "protocol": protocol.id,
        "samples": protocol.samples,
        "replicates": protocol.repeats,
        "papers quote": {
            "mean": "the mean of the replicates",
            "min": "the smallest of the replicates",
        }[protocol.selection],
        "labels": protocol.labels,
        "seeds": protocol.noise,
        "quantisation": protocol.quantisation,
        "extractors": {e: list(registry.extractors.get(e).features) for e in protocol.extractors},
        "measured unless others are asked for": list(protocol.metrics),
        "metrics": _measurable(protocol),
        "references": {
            dataset: [_reference_facts(place) for place in places]
            for dataset, places in protocol.references.items()
        },
    }


def _measurable(protocol: Protocol) -> Facts:
    """Describe each metric of features that a protocol can measure."""
    metrics: Facts = {}
    for name in registry.metrics.entries():
        try:
            metric = make_metric(name, protocol)
        except BenchError:
            continue  # of a feature that this protocol does not have, or of a broken plugin
        if isinstance(metric, FeatureMetric):
            unit = f", {metric.unit}" if metric.unit else ""
            parameters: Facts = dataclasses.asdict(metric) if dataclasses.is_dataclass(metric) else {}
            metrics[name] = {"better": metric.direction + unit, "feature": metric.feature} | parameters
    return metrics


def metric_facts(name: str) -> Facts:
    """Collect what a metric says of itself, and the protocols by which it can be measured."""
    metric = registry.metrics.get(name)
    own = {key: value for key in ("direction", "unit", "feature") if (value := getattr(metric, key, ""))}
    return {
        "metric": name,
        "meaning": _meaning(metric),
        **own,
        "protocols": _protocols(lambda protocol: make_metric(name, protocol) is not None),
    }


def extractor_facts(name: str) -> Facts:
    """Collect what an extractor says of itself, and the protocols that use it."""
    extractor = registry.extractors.get(name)
    return {
        "extractor": name,
        "meaning": _meaning(extractor),
        "features": list(extractor.features),
        "files": [_asset_facts(asset) for asset in extractor.assets],
        "protocols": _protocols(lambda protocol: name in protocol.extractors),
    }


def _protocols(fits: Callable[[Protocol], bool]) -> list[str]:
    """List the protocols that fit; one that is broken, or lacks a feature, does not."""
    names = []
    for name in registry.protocols.entries():
        try:
            if fits(registry.protocols.get(name)):
                names.append(name)
        except BenchError:
            continue
    return names


def _meaning(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def _reference_facts(place: Any) -> Facts:
    """Describe reference statistics: a file that is shipped, or one that is published."""
    if not hasattr(place, "asset"):
        return {"file": place.name, "builder": "bench stats, shipped with this suite"}
    facts = {name: getattr(place, name) for name in ("builder", "split", "images", "extractor")}
    return facts | _asset_facts(place.asset)


def _asset_facts(asset: Asset) -> Facts:
    """Describe a file that can be fetched, and where it lies."""
    facts = {name: getattr(asset, name) for name in ("file", "url", "licence", "source")}
    return facts | {
        "sha256": asset.digest(),
        "at": str(asset.path) if asset.path.exists() else "not fetched",
    }
