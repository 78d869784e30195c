"""``kill -9`` before any operation on a file, any update, any batch of an evaluation, and at any time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.runs.events import Event
from bench.training.recorder import Recorder
from bench.training.trainer import Trainer
from benchmarks.faults.children import Child, Ended
from benchmarks.faults.runs import child_run, differences, facts, request_of, run_in

UPDATE, BATCH = "bench.update", "bench.batch"
REMOVALS = {"os.remove", "os.rmdir"}
FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.chmod", "os.listdir", "os.scandir", *REMOVALS}
KINDS = {
    "recipe.yaml": "recipe",
    "record.json": "record",
    "metrics.jsonl": "curve",
    "state-": "state",
    "best.": "best weights",
    "generator.": "final weights",
    "SHA256SUMS": "sums",
    "lock": "lock",
    "0000": "samples",
}
"""What a file is, by how its name begins."""
TIME, ANY_TIME = "at any time", 0.2
"""Kills that ask for no event, and their part of all."""
CLEARING, CLEARED = "clearing", 8
"""The removal of a finished run's folders by ``--fresh``, and about as many files as they have."""
FRESH = 0.2
"""The part of the runs that are killed while they clear a finished one."""


def kind_of(event: str, args: tuple[Any, ...], place: str) -> str | None:
    """Name what an audit event is about; None if it counts for nothing."""
    if event == UPDATE:
        return "update"
    if event == BATCH:
        return "evaluation"
    if event not in FILE_EVENTS or not args or not isinstance(args[0], str | os.PathLike):
        return None
    path = os.fspath(args[0])
    if event in REMOVALS and not os.path.isabs(path):  # below a folder that is removed
        return CLEARING
    if not path.startswith(place):
        return "start and reading" if event == "open" else None
    if "/pairs" in path:
        return "pairs"
    name = os.path.basename(path).removeprefix(".")
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), "folders")


def announce_work() -> None:
    """Let every update and every batch of an evaluation be an audit event of this process."""
    iteration, observe = Trainer.iteration, Recorder._observe_until_stop

    def announced_iteration(self: Trainer) -> None:
        sys.audit(UPDATE)
        iteration(self)

    def announced_observe(self: Recorder, event: Event) -> None:
        sys.audit(BATCH)
        observe(self, event)

    Trainer.iteration = announced_iteration  # type: ignore[method-assign]
    Recorder._observe_until_stop = announced_observe  # type: ignore[method-assign]


def watch(place: Path, saw: Callable[[str], None]) -> None:
    """Call ``saw`` with the kind of each event of this process from now on, before it happens."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if (kind := kind_of(event, args, f"{place}/")) is not None:
            saw(kind)

    sys.addaudithook(hook)


def killed_at(place: Path, method: str, kind: str, number: int, *, fresh: bool = False) -> Ended:
    """Carry out a run that kills itself just before its event of this kind and number."""

    def work() -> str:
        left = Counter({kind: number})

        def saw(seen: str) -> None:
            left[seen] -= 1
            if seen == kind and left[seen] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        watch(place, saw)
        return run_in(place, request_of(method), fresh=fresh)

    return Child(work).end()


class Straight:
    """The run of a method that nothing happens to: its facts, its events by kind, and its seconds."""

    def __init__(self, method: str, place: Path) -> None:
        def work() -> str:
            events: list[str] = []
            watch(place, events.append)
            run_in(place, request_of(method))
            return "\n".join(events)

        self.method, self.place = method, place
        started = time.monotonic()
        ended = Child(work).end()
        assert ended.code == 0, ended.said
        self.seconds = time.monotonic() - started
        self.events = Counter(ended.said.split("\n"))
        self.kinds = cycle(sorted(self.events))
        self.facts = facts(place)

    def killed_again(self, here: Path, rng: random.Random) -> tuple[str, Ended]:
        """Carry out the same run in another place and kill it; return when, and how it ended.

        The kinds of moments take turns, so that none is rare; of its kind a moment is drawn.
        """
        if rng.random() < ANY_TIME:
            child = Child(lambda: run_in(here, request_of(self.method)))
            return TIME, child.end(kill_after=rng.uniform(0, self.seconds))
        kind = next(self.kinds)
        return kind, killed_at(here, self.method, kind, rng.randrange(1, self.events[kind] + 1))

    def killed_while_cleared(self, here: Path, rng: random.Random) -> tuple[str, Ended]:
        """Start the finished run over, and kill it while its files are removed."""
        shutil.copytree(self.place, here)
        number = rng.randrange(1, CLEARED + 1)
        return CLEARING, killed_at(here, self.method, CLEARING, number, fresh=True)


class StraightRuns(dict[str, Straight]):
    """The straight runs by method, each carried out when it is first needed."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __missing__(self, method: str) -> Straight:
        self[method] = Straight(method, self.place / f"straight-{method}")
        return self[method]


def campaign(
    kills: int, methods: list[str], seed: int, place: Path, straight: StraightRuns
) -> dict[str, Any]:
    """Kill runs, each once or more, give the same command to the end, and compare with the straight run."""
    rng, runs, ran_through = random.Random(seed), 0, 0
    hits: Counter[str] = Counter()
    by_method: Counter[str] = Counter()
    faults: list[str] = []
    while hits.total() < kills:
        method = methods[runs % len(methods)]
        runs += 1
        here, expected, history = place / f"killed-{runs}", straight[method], list[str]()
        fresh = rng.random() < FRESH
        while True:
            kill = expected.killed_while_cleared if fresh else expected.killed_again
            moment, ended = kill(here, rng)
            history.append(moment)
            hits[moment] += ended.killed
            by_method[method] += ended.killed
            if fresh or not ended.killed or hits.total() == kills or rng.random() < 0.5:
                break
        ran_through += not ended.killed
        if ended.killed:
            ended = child_run(here, request_of(method))
        if fresh and ended.refused:  # for want of a record, and says that --fresh helps
            ended = child_run(here, request_of(method), fresh=True)
        problems = [f"ended with {ended.code}: {ended.said}"] if ended.code else []
        problems = problems or differences(facts(here), expected.facts)
        faults += [f"{method}, killed at {', '.join(history)}: {problem}" for problem in problems]
        shutil.rmtree(here)
    return {
        "kills": hits.total(),
        "runs": runs,
        "runs that outlived their last kill": ran_through,
        "kills by moment": dict(hits.most_common()),
        "kills by method": dict(by_method),
        "faults": faults,
    }
