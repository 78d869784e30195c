"""The details of a run in a report: all that its record holds, as titled tables of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.files.documents import dump_yaml
from bench.runs.record import Record
from bench.units import duration, plus_minus, quantity


def details(record: Record) -> list[dict[str, Any]]:
    """Return tables with a title, a head and rows, of which those without rows are left out.

    The head is empty where a name and a value need none. The recipe follows them as text.
    """
    settings = [[n, _text(v), record.sources.get(n, "")] for n, v in record.recipe.settings.items()]
    protocols = {name: protocol.as_given() for name, protocol in record.protocols.items()}
    choice = {"best": record.best.as_given(), "tuning": record.tuning.as_given()}
    other = {
        "parameters": record.parameters or None,
        "images": record.images,
        **(record.model_extra or {}),
    }
    times = {"started": record.started, "finished": record.finished}
    weights = {"checkpoint": record.checkpoint.as_given()}
    # without their folders: where a file lay is nobody's business
    inputs = [[Path(place).name, digest] for place, digest in record.inputs.items()]
    tables: list[tuple[str, list[str], list[list[str]]]] = [
        ("Evaluations", *_evaluations(record)),
        ("Settings", ["setting", "value", "source"], settings),
        ("Cost", [], list(_cost(record.cost.model_dump(exclude_unset=True)))),
        ("Protocol", [], list(_flat(protocols))),
        ("Environment", [], list(_flat(record.environment.as_given() | times))),
        ("Choice and tuning", [], list(_flat(choice))),
        ("Weights and files", [], [*_flat(weights), *inputs]),
        ("Other", [], list(_flat(other))),
    ]
    text = dump_yaml(record.recipe.as_given())
    return [
        *({"title": title, "head": head, "rows": rows} for title, head, rows in tables if rows),
        {"title": "recipe.yaml", "text": text},
    ]


def _evaluations(record: Record) -> tuple[list[str], list[list[str]]]:
    names = list(
        dict.fromkeys((name, m.protocol) for e in record.evaluations for name, m in e.metrics.items())
    )
    titles = [f"{name.upper()} ({protocol})" for name, protocol in names]
    head = ["images", "updates", "FLOPs", "time", "NFE", "samples", *titles]
    rows = []
    for e in record.evaluations:
        cost = [*map(quantity, (e.images, e.updates, e.flops)), duration(e.seconds)]
        metrics = [e.metrics.get(name) for name, _ in names]
        numbers = [plus_minus(m.value, m.std) if m else "-" for m in metrics]
        rows.append([*cost, str(e.nfe), str(e.samples), *numbers])
    return head, rows


def _cost(cost: dict[str, Any]) -> Iterator[list[str]]:
    for name, value in _flat(cost):
        exact = value.isdigit() and len(value) > 3
        yield [name, f"{quantity(float(value))} ({int(value):,})" if exact else value]


def _flat(content: Any, name: str = "") -> Iterator[list[str]]:
    """Flatten nested data to pairs of a dotted name and a text, without what is empty."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, list) and any(isinstance(v, dict | list) for v in content):
        for i, value in enumerate(content):
            yield from _flat(value, f"{name}.{i}")
    elif content not in (None, "", []):
        yield [name, _text(content)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return "-" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
