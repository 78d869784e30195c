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
    same = without_places(record.recipe.as_given())
    return fingerprint({name: value for name, value in same.items() if name not in ("seed", "evaluation")})


def fingerprint(content: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that differ where the content does."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def measured_how(record: Record, metric: str) -> str:
    """What makes two numbers comparable beyond the protocol's id, as a fingerprint: extractor, reference, parameters."""
    protocols = record.protocols.values()
    parameters = [protocol.parameters.get(metric) for protocol in protocols]
    compared = any(protocol.compares is None or metric in protocol.compares for protocol in protocols)
    names = ("protocol", "samples", "fast", "extractors", *(["references"] if compared else []))
    return fingerprint({name: getattr(record.recipe.evaluation, name, None) for name in names} | {"parameters": parameters})


def variants(groups: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """For each group what was given by hand; and where that does not tell two apart, the settings in which they differ."""
    flat = {group: min(records, key=lambda r: len(_given(r))) for group, records in groups.items()}
    # the one that needed the fewest words, rather than a repetition of its whole recipe
    budgets = {record.recipe.budget for record in flat.values()} - {None}
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
    settings, asked = record.recipe.settings, record.request.get("budget")
    amount = [short(record.recipe.budget)] if budget and asked and record.recipe.budget else []
    return amount + [
        f"{name}={settings[name]}" for name, source in record.sources.items() if source == "given" and name in settings
    ]


def _choices(record: Record) -> dict[str, Any]:
    recipe = record.recipe
    digests = {"weights": recipe.teacher_digest[:6], "code": recipe.method_digest[:6]}
    return {"budget": recipe.budget, **recipe.settings, **digests}
