"""``bench show``: one method, teacher, run and so on in full."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import Json, Plugins, Results, check_format, load_plugins


class What(StrEnum):
    """What can be shown."""

    method = "method"
    teacher = "teacher"
    released = "released"
    protocol = "protocol"
    metric = "metric"
    extractor = "extractor"
    run = "run"


def show(
    what: Annotated[What, typer.Argument(help="Kind of thing.")],
    name: Annotated[str, typer.Argument(help="Its name; a run's id or the beginning of it.")],
    teacher: Annotated[str | None, typer.Option(help="For a method: the teacher whose settings are meant.")] = None,
    format_: Json = "terminal",
    results: Results = None,
    plugin: Plugins = None,
) -> None:
    """Show what a method will use and where each value comes from, or the facts of anything else.

    Example: bench show method sid --teacher edm-digits
    """
    check_format(format_)
    load_plugins(plugin)
    if what is What.run:
        from bench.runs.store import find_run, results_folder

        folder, record = find_run(name, results_folder(results))
        facts: dict[str, Any] = record.model_dump(mode="json", exclude={"request", "inputs", "sources"})
        facts["folder"] = str(folder.path)
    elif what is What.teacher:
        facts = _teacher(name)
    elif what is What.released:
        facts = _released(name)
    elif what is What.protocol:
        facts = _protocol(name)
    elif what in (What.metric, What.extractor):
        facts = _eval(what.value, name)
    else:
        facts = _method(name, teacher)
    if format_ == "json":
        import json

        typer.echo(json.dumps(facts, indent=1))
    elif what is What.method:
        _print_method(facts)
    else:
        import yaml

        typer.echo(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=120).rstrip())


def _method(name: str, teacher: str | None) -> dict[str, Any]:
    import inspect

    from bench import registry
    from bench.factory import find_teacher_class
    from bench.settings import card

    method = registry.methods.get(name)
    if teacher is not None:
        find_teacher_class(teacher)
    data = card(method)
    values = data.values(teacher or "")
    fields = method.Settings.model_fields
    settings = {
        key: {
            "value": values[key].value if key in values else None if fields[key].is_required() else fields[key].default,
            "meaning": fields[key].description if key in fields else "compute of a run unless --budget says otherwise",
            "source": values[key].source
            if key in values
            else "none: must be given"
            if fields[key].is_required()
            else "default in the code",
        }
        for key in [*fields, *(k for k in values if k not in fields)]
    }
    tuning = data.tuning.get(teacher or "")
    return {
        "method": name,
        "summary": (inspect.getdoc(method) or "").partition("\n")[0],
        "citation": data.citation,
        "teacher": teacher if teacher in {*data.teachers, *data.defaults_for} else None,
        "needs": _needs(name, method, teacher or "", settings),
        "update": data.price(),
        "settings": settings,
        "tuning": tuning.model_dump() if tuning else None,
        "bibtex": data.bibtex,
    }


def _needs(name: str, method: Any, teacher: str, settings: dict[str, Any]) -> list[str] | None:
    """What the method requires under the settings shown; None where some of them still have to be given."""
    from bench.errors import UsageError
    from bench.settings import choose_settings

    try:
        chosen = choose_settings(method, teacher, {}).settings
    except UsageError:
        return None
    return [wanted.describe() for wanted in method.requires(chosen)]


def _print_method(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print(f"{facts['method']}: {facts['summary']}")
    console.print(
        f"settings for {facts['teacher']}:" if facts["teacher"] else "default settings (--teacher NAME for a teacher's own):"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("setting", "value", "meaning", "source"):
        table.add_column(title, no_wrap=title in ("setting", "value"))
    for key, setting in facts["settings"].items():
        table.add_row(key, str(setting["value"]), setting["meaning"] or "", setting["source"])
    console.print(table)
    if facts["update"]:
        typer.echo(f"one update costs {facts['update']}: F a forward pass of the network on the batch, E one of its encoder")
    if facts["needs"] is not None:
        typer.echo(f"needs {'; '.join(facts['needs']) or 'nothing but the teacher'}")
    if facts["tuning"]:
        console.print(f"tuning: {facts['tuning']['runs']} runs; {facts['tuning']['note']}")
    typer.echo(facts["bibtex"].rstrip() or "no citation")


def _teacher(name: str) -> dict[str, Any]:
    """A teacher's facts; those of its weights too if they are at hand, as showing downloads nothing."""
    import dataclasses
    import inspect

    from bench.factory import find_teacher_class

    teacher_class, source = find_teacher_class(name)
    at_hand = Path(source).exists() if source else all(weights.path.exists() for weights in teacher_class.assets[:1])
    if source and not at_hand:
        return {"teacher": name, "weights": "not in a folder here; they are fetched when the teacher is used"}
    teacher = teacher_class(None, source) if at_hand else teacher_class
    facts: dict[str, Any] = {
        "teacher": name,
        "summary": (inspect.getdoc(teacher_class) or "").partition("\n")[0],
        "images": dataclasses.asdict(teacher.image_spec),
        "noise": dataclasses.asdict(teacher.noise),
        "sampler": _sampler(teacher.sampler),
        "dataset": teacher.dataset,
        "protocol": teacher.protocol,
    }
    if teacher.published:
        facts["published"] = dataclasses.asdict(teacher.published)
    if teacher.assets:
        facts["files"] = [_asset(asset) for asset in teacher.assets]
    if isinstance(teacher, type):
        return facts | {"weights": f"not at hand; get them by `bench fetch teacher:{name}`, or give --teacher-path FILE"}
    facts |= {"parameters": sum(p.numel() for p in teacher.denoiser.parameters()), "digest": teacher.digest()}
    if teacher.note:
        facts["note"] = teacher.note
    shipped = getattr(teacher_class, "shipped", None)
    if shipped is not None:
        from bench.files.tensors import load_tensors

        facts["weights"] = load_tensors(shipped)[1]
    return facts


def _sampler(sampler: Any) -> dict[str, Any]:
    """What matters of a sampler: the churn's settings only if it churns."""
    names = ("steps", "solver", *(("churn", "churn_min", "churn_max", "churn_noise") if sampler.churn else ()))
    return {name: getattr(sampler, name) for name in names} | {"nfe": sampler.nfe}


def _released(name: str) -> dict[str, Any]:
    import dataclasses

    from bench import registry

    released = registry.released.get(name)
    return {
        "released": name,
        "method": released.method,
        "teacher": released.teacher,
        "sigmas": list(released.sigmas),
        "nfe": len(released.sigmas),
        "published": dataclasses.asdict(released.published) if released.published else None,
        "files": [_asset(asset) for asset in released.assets],
    }


def _protocol(name: str) -> dict[str, Any]:
    import dataclasses

    from bench import registry
    from bench.errors import BenchError
    from bench.evaluation.plan import make_metric
    from bench.plugin.metric import FeatureMetric

    protocol = registry.protocols.get(name)
    measurable = {}
    for metric_name in registry.metrics.entries():
        try:
            metric = make_metric(metric_name, protocol)
        except BenchError:
            continue  # of a feature that this protocol does not have, or of a broken plugin
        if isinstance(metric, FeatureMetric):
            unit = f", {metric.unit}" if metric.unit else ""
            parameters: dict[str, Any] = dataclasses.asdict(metric) if dataclasses.is_dataclass(metric) else {}
            measurable[metric_name] = {"better": metric.direction + unit, "feature": metric.feature} | parameters
    return {
        "protocol": protocol.id,
        "samples": protocol.samples,
        "replicates": protocol.repeats,
        "papers quote": {"mean": "the mean of the replicates", "min": "the smallest of the replicates"}[protocol.selection],
        "labels": protocol.labels,
        "seeds": protocol.noise,
        "quantisation": protocol.quantisation,
        "extractors": {e: list(registry.extractors.get(e).features) for e in protocol.extractors},
        "measured unless others are asked for": list(protocol.metrics),
        "metrics": measurable,
        "references": {dataset: [_reference(r) for r in places] for dataset, places in protocol.references.items()},
    }


def _eval(kind: str, name: str) -> dict[str, Any]:
    """What a metric or an extractor says of itself, and which protocols have it."""
    import inspect

    from bench import registry
    from bench.errors import BenchError
    from bench.evaluation.plan import make_metric

    thing = registry.REGISTRIES[kind].get(name)
    facts: dict[str, Any] = {kind: name, "meaning": " ".join((inspect.getdoc(thing) or "").split())}
    if kind == "metric":
        facts |= {n: value for n in ("direction", "unit", "feature") if (value := getattr(thing, n, ""))}
    else:
        facts |= {"features": list(thing.features), "files": [_asset(asset) for asset in thing.assets]}
    having = []
    for protocol_name in registry.protocols.entries():
        try:
            protocol = registry.protocols.get(protocol_name)
            if kind == "extractor" and name not in protocol.extractors:
                continue
            if kind == "metric":
                make_metric(name, protocol)
        except BenchError:
            continue  # a protocol without the feature, or a broken plugin
        having.append(protocol_name)
    return facts | {"protocols": having}


def _reference(place: Any) -> dict[str, Any]:
    if not hasattr(place, "asset"):
        return {"file": place.name, "builder": "bench stats, shipped with this suite"}
    facts = {name: getattr(place, name) for name in ("builder", "split", "images", "extractor")}
    return facts | _asset(place.asset)


def _asset(asset: Any) -> dict[str, Any]:
    facts = {"file": asset.file, "url": asset.url, "licence": asset.licence, "source": asset.source, "sha256": asset.digest()}
    return facts | {"at": str(asset.path) if asset.path.exists() else "not fetched"}
