"""Which runs are superseded: the code that made them has changed, and another run has taken their place."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.runs.card import BY_CODE
from bench.runs.recipe import without_places
from bench.runs.record import Record
from bench.runs.store import changed_inputs


def superseded(records: Iterable[Record]) -> dict[str, str]:
    """Return by the id of each superseded run the id of the run that has taken its place.

    Runs that were asked the same are versions of one run. Of those that are finished one counts: the one
    that the code on this machine would answer with, or else the one that was finished last. It supersedes
    those of other code, but for unfinished ones that began after it. A run that is not finished
    supersedes none.

    This is found by reading. No record changes, and once the code is again what it was, the run of then
    counts again.
    """
    versions: dict[str, list[Record]] = {}
    for record in records:
        versions.setdefault(_asked(record), []).append(record)
    successors, digests = dict[str, str](), dict[Path, str]()
    for same in versions.values():
        finished = [record for record in same if record.status == "done"]
        if len({_code(record) for record in same}) < 2 or not finished:
            continue
        counts = max(
            finished, key=lambda r: (not changed_inputs(r, digests), r.finished or "", r.started)
        )
        for other in same:
            earlier = other.status == "done" or other.started < counts.started
            if earlier and _code(other) != _code(counts):
                successors[other.run_id] = counts.run_id
    return successors


def _asked(record: Record) -> str:
    """Write what was asked of a run, which is the same for all versions of its code."""
    asked: dict[str, Any] = without_places(record.recipe.as_given())
    asked["evaluation"] = dict(asked.get("evaluation") or {})
    for name in ("method_digest", "teacher_code", "plugin_code", "plugins"):
        asked.pop(name, None)
    for name in ("code", "reference", "extractor_path"):
        asked["evaluation"].pop(name, None)
    # What the code gives by default belongs to it; the precision is given by the machine in the end.
    given = {n: v for n, v in asked.get("settings", {}).items() if record.sources.get(n) != BY_CODE}
    given["precision"] = asked.get("settings", {}).get("precision")
    return json.dumps(asked | {"settings": given}, sort_keys=True)


def _code(record: Record) -> tuple[str, ...]:
    """Return the digests of all code behind a run."""
    recipe = record.recipe
    plugins = recipe.plugin_code or "".join(sorted(recipe.plugins.values()))
    measures = (recipe.evaluation and recipe.evaluation.code) or ""
    return recipe.method_digest, recipe.teacher_code, plugins, measures
