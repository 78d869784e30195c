"""Which runs are one row of a table: those that differ only in their seed; and what sets a row apart from the method's others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.runs.recipe import without_places
from bench.runs.record import Record
from bench.units import short_budget as short


def group_of(record: Record) -> str:
    """Names the runs that differ only in their seed, and in how they were measured, which the columns tell apart."""
    same = {k: v for k, v in record.recipe.items() if k not in ("seed", "evaluation")}
    return fingerprint(without_places(same))


def fingerprint(content: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that differ where the content does."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def measured_how(record: Record, metric: str) -> str:
    """What makes two numbers comparable beyond the protocol's id, as a fingerprint: extractor, reference, parameters."""
    plan = record.recipe.get("evaluation") or {}
    parameters = [protocol.get("parameters", {}).get(metric) for protocol in record.protocols.values()]
    compared = any(metric in protocol.get("compares", [metric]) for protocol in record.protocols.values())
    names = ("protocol", "samples", "fast", "extractors", *(["references"] if compared else []))
    return fingerprint({name: plan.get(name) for name in names} | {"parameters": parameters})


def variants(groups: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """For each group what was given by hand; and where that does not tell two apart, the settings in which they differ."""
    flat = {group: min(records, key=lambda r: len(_given(r))) for group, records in groups.items()}
    # the one that needed the fewest words, rather than a repetition of its whole recipe
    budgets = {record.recipe.get("budget") for record in flat.values()} - {None}
    told = {group: ", ".join(_given(record, budget=len(budgets) > 1)) for group, record in flat.items()}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for group, record in flat.items():
        alike.setdefault((record.teacher, record.method, told[group]), []).append(group)
    for names in (names for names in alike.values() if len(names) > 1):
        choices = {group: _choices(flat[group]) for group in names}
        every = dict.fromkeys(name for chosen in choices.values() for name in chosen)
        apart = [name for name in every if len({json.dumps(chosen.get(name)) for chosen in choices.values()}) > 1]
        for group, chosen in choices.items():
            told[group] = ", ".join(filter(None, [told[group], *(f"{n}={chosen[n]}" for n in apart if n in chosen)]))
    return told


def _given(record: Record, *, budget: bool = True) -> list[str]:
    """The settings that the run was asked for by hand, and its budget, unless all have the same."""
    settings = record.recipe.get("settings", {})
    amount = [short(record.recipe["budget"])] if budget and record.request.get("budget") else []
    return amount + [
        f"{name}={settings[name]}" for name, source in record.sources.items() if source == "given" and name in settings
    ]


def _choices(record: Record) -> dict[str, Any]:
    digests = {"weights": record.recipe.get("teacher_digest", "")[:6], "code": record.recipe.get("method_digest", "")[:6]}
    return {"budget": record.recipe.get("budget"), **record.recipe.get("settings", {}), **digests}
