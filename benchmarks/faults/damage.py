"""Any file of an unfinished run emptied, cut, overwritten or with one bit flipped, and the run continued."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import Straight, killed_at
from benchmarks.faults.runs import child_run, differences, facts, request_of

METHOD = "dmd"
"""Its run has files of every kind: pairs, and weights of a best checkpoint that is not the last."""
UPDATE = 18
"""The update before which the run is killed that is then damaged."""
RIGHT = (
    "status",
    "weights by the record",
    "weights",
    "evaluations",
    "final",
    "best",
    "best weights",
    "cost",
)
"""What has to be right of a run that ends after damage; a damaged picture or curve stays one."""


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    """Flip a bit anywhere, or, as often, in the first kilobyte, where a file describes itself."""
    within = len(data) if rng.random() < 0.5 else min(len(data), 1024)
    bit, changed = rng.randrange(8 * within), bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": lambda data, rng: b"",
    "cut": _cut,
    "flipped": _flipped,
    "zeros": lambda data, rng: bytes(len(data)),
}


def unfinished(place: Path) -> None:
    """Leave a run there that was killed on its way, with files of every kind."""
    ended = killed_at(place, METHOD, "update", UPDATE)
    assert ended.killed, ended


def campaign(damages: int, seed: int, place: Path, straight: Straight) -> dict[str, Any]:
    """Damage one file in one way, so many times, and continue the run each time."""
    begun = place / "begun"
    unfinished(begun)
    files = sorted(path.relative_to(begun) for path in begun.rglob("*") if path.is_file())
    rng = random.Random(seed)
    cases = [(file, name) for file in files for name in DAMAGES]
    rng.shuffle(cases)
    ends: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    faults: list[str] = []
    for file, name in islice(cycle(cases), damages):
        here = place / "damaged"
        shutil.copytree(begun, here)
        data = (here / file).read_bytes()
        (here / file).write_bytes(DAMAGES[name](data, rng) if data else data)
        sentence, problems = outcome(here, straight)
        ends["a sentence" if sentence else "the right weights"] += 1
        sentences[sentence.replace(str(here), "")] += bool(sentence)
        faults += [f"{file.name} {name}: {problem}" for problem in problems]
        shutil.rmtree(here)
    return {
        "files": len(files),
        "damages": damages,
        "ends": dict(ends),
        "sentences": dict(+sentences),
        "faults": faults,
    }


def outcome(place: Path, straight: Straight) -> tuple[str, list[str]]:
    """Continue a damaged run; return the sentence that refused it, if one did, and what was wrong.

    Where it is refused, ``--fresh`` has to help.
    """
    request = request_of(METHOD)
    ended = child_run(place, request)
    sentence = ""
    if ended.refused:
        sentence = f"exit {ended.code}: {ended.said}"
        ended = child_run(place, request, fresh=True)
    if ended.code:
        return sentence, [f"ended with {ended.code}: {ended.said}"]
    right = {name: straight.facts[name] for name in RIGHT}
    return sentence, differences(facts(place), right)
