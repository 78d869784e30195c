"""Which runs are one row of a table, and what sets a row apart from the other rows of its method.

Runs that differ only in their seed are one row.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.runs.recipe import without_places
from bench.runs.record import Record
from bench.units import short_budget


def group_of(record: Record, *, but_for: str | None = None) -> str:
    """Name the runs that differ only in their seed and in how they were measured, and in the value of one
    setting if there is one that they may differ in.

    The columns of a table tell apart how they were measured.
    """
    same = without_places(record.recipe.as_given())
    if but_for is not None:
        same["settings"] = {n: v for n, v in same.get("settings", {}).items() if n != but_for}
    return fingerprint(
        {name: value for name, value in same.items() if name not in ("seed", "evaluation")}
    )


def one_of_each_seed(records: Iterable[Record]) -> list[Record]:
    """Return the last run of each seed.

    A seed that was measured twice, by other points or repeats, counts once.
    """
    return list({record.seed: record for record in records}.values())


def fingerprint(content: dict[str, Any]) -> str:
    """Return twelve hexadecimal digits that differ where the content does."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def measured_how(record: Record, metric: str) -> str:
    """Return a fingerprint of what makes two numbers comparable beyond the protocol's id.

    These are the samples, the extractors, the parameters of the metric, and the reference if it compares
    with one.
    """
    protocols = record.protocols.values()
    compared = any(protocol.compares is None or metric in protocol.compares for protocol in protocols)
    names = ("protocol", "samples", "fast", "extractors", *(["references"] if compared else []))
    plan = {name: getattr(record.recipe.evaluation, name, None) for name in names}
    return fingerprint(plan | {"parameters": [p.parameters.get(metric) for p in protocols]})


def variants(groups: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """Describe each group of runs by what was given by hand, such as ``alpha=1.0``.

    Where that does not tell two groups of one method apart, the settings in which they differ are added.
    """
    # the run that needed the fewest words, rather than a repetition of its whole recipe
    runs = {group: min(records, key=lambda r: len(_given(r))) for group, records in groups.items()}
    budgets = {run.recipe.budget for run in runs.values()} - {None}
    words = {group: ", ".join(_given(run, budget=len(budgets) > 1)) for group, run in runs.items()}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for group, run in runs.items():
        alike.setdefault((run.teacher, run.method, words[group]), []).append(group)
    for same in (same for same in alike.values() if len(same) > 1):
        choices = {group: _choices(runs[group]) for group in same}
        names = dict.fromkeys(name for chosen in choices.values() for name in chosen)
        apart = [n for n in names if len({json.dumps(chosen.get(n)) for chosen in choices.values()}) > 1]
        for group, chosen in choices.items():
            differences = (f"{name}={chosen[name]}" for name in apart if name in chosen)
            words[group] = ", ".join(filter(None, [words[group], *differences]))
    return words


def _given(record: Record, *, budget: bool = True) -> list[str]:
    """Return the settings given by hand, and with ``budget`` the budget if that was given too."""
    recipe = record.recipe
    names = [name for name, source in record.sources.items() if source == "given"]
    settings = [f"{name}={recipe.settings[name]}" for name in names if name in recipe.settings]
    settings += [f"classes={recipe.classes}"] if recipe.classes else []
    if budget and recipe.budget and record.request.get("budget"):
        return [short_budget(recipe.budget), *settings]
    return settings


def _choices(record: Record) -> dict[str, Any]:
    """Return everything in which two runs of one method on one teacher may differ."""
    recipe = record.recipe
    digests = {
        "weights": recipe.teacher_digest,
        "code": recipe.method_digest,
        "teacher-code": recipe.teacher_code,
        "plugins": recipe.plugin_code or "".join(sorted(recipe.plugins.values())),
        **recipe.supplies,
    }
    short = {
        name: digest[:6] if re.fullmatch("[0-9a-f]{8,}", digest) else digest
        for name, digest in digests.items()
        if digest
    }
    return {"budget": recipe.budget, **recipe.settings, **short}
