"""Many processes that want the same runs of one results folder: each run is trained once, and whole."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, deque
from functools import partial
from pathlib import Path
from typing import Any

from bench.api import carry_out
from bench.errors import Held
from bench.runs.events import Event, Finished
from bench.runs.recipe import Request
from bench.runs.store import read_runs
from benchmarks.faults.children import Child
from benchmarks.faults.runs import digest_of, request_of, run_in

METHODS = ("sid", "dmd")
"""Of dmd's runs all need the same pairs, which one process makes while the others wait."""


def request(number: int) -> Request:
    """The run of this number, of a few updates and one evaluation."""
    method = METHODS[number % len(METHODS)]
    return request_of(method, seed=number // len(METHODS), budget="updates=4", eval_points=1)


def campaign(runs: int, processes: int, seed: int, place: Path) -> dict[str, Any]:
    """Let the processes carry out all runs, every second in the same order, and count who trained what."""
    here = place / "crowd"
    (here / "results").mkdir(parents=True)
    children = [Child(partial(work, here, runs, seed + number % 2)) for number in range(processes)]
    ended = [child.end() for child in children]
    faults = [f"a process ended with {end.code}: {end.said}" for end in ended if end.code]
    words = Counter(" ".join(end.said for end in ended if not end.code).split())
    held = words.pop("held", 0)
    faults += [f"{run} was trained {times} times" for run, times in words.items() if times != 1]
    found, skipped = read_runs(here / "results")
    faults += skipped
    faults += [f"{record.run_id} is {record.status}" for _, record in found if record.status != "done"]
    trained = {record.run_id for _, record in found if record.method != "teacher"}
    if len(trained) != runs or len(found) != runs + 1:
        faults.append(f"{len(trained)} runs and {len(found)} records, expected {runs} and the teacher's")
    faults += [
        f"{record.run_id} has changed: {changed}"
        for folder, record in found
        if (changed := folder.changed_files()) != []
    ]
    faults += [f"{file.name} was left" for file in here.rglob("*.tmp")]
    weights = {
        record.request["seed"]: folder.weights for folder, record in found if record.method == "sid"
    }
    alone = place / "alone"
    assert Child(lambda: run_in(alone, request(0))).end().code == 0
    if digest_of(weights[0]) != digest_of(next(alone.rglob("generator.safetensors"))):
        faults.append("the weights of a run are other than those of the same run alone")
    return {
        "processes": processes,
        "runs": len(trained),
        "trained": sum(words.values()),
        "turned away from a run that another held": held,
        "faults": faults,
    }


def work(place: Path, runs: int, seed: int) -> str:
    """Carry out all runs; return the ids of those that this process has trained, and ``held`` for each
    time that another process held one.
    """
    os.environ["BENCH_CACHE"] = str(place / "cache")
    numbers = list(range(runs))
    random.Random(seed).shuffle(numbers)
    waiting, said = deque(numbers), list[str]()

    def observe(event: Event) -> None:
        if isinstance(event, Finished) and not event.reused:
            said.append(event.record.run_id)

    while waiting:
        number = waiting.popleft()
        try:
            carry_out(request(number), place / "results", with_teacher=True, observe=observe)
        except Held:
            said.append("held")
            waiting.append(number)
            time.sleep(0.01)
    return " ".join(said)
