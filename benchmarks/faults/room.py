"""A disk that is full or read-only, and folders that may not be written: each ends a run in a sentence,
with its checkpoints as they were, and the run continues once there is room.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.files.atomic import sha256
from benchmarks.faults.children import Child, Ended
from benchmarks.faults.damage import METHOD, unfinished
from benchmarks.faults.kills import Straight
from benchmarks.faults.runs import child_run, differences, facts, folder_in, request_of, run_in

NOBODY = 65534
"""The ordinary user that root becomes, whom permissions do not bind."""
DISK = 2**24
"""Bytes of the small disk."""
LEFT = (0, 4096, 16384, 131072, *(n * 2**19 for n in (2, 3, 4, 6, 8, 10, 12, 14)))
"""Bytes that are left of it."""


def campaign(refusals: int, seed: int, place: Path, straight: Straight) -> dict[str, Any]:
    """Refuse room or permission to a run that was begun, and to one that was not, in so many ways."""
    begun = place / "begun-for-room"
    unfinished(begun)
    place.chmod(0o711)  # an ordinary user has to come through
    cases: dict[str, Callable[[], tuple[str, list[str]]]] = {
        name: partial(without_permission, place / "refused", begun, spoil, straight)
        for name, spoil in PERMISSIONS.items()
    }
    with small_disk(place / "disk") as disk:
        if disk is not None:
            cases["a read-only disk"] = partial(on_read_only, disk, begun, straight)
            for left in LEFT:
                cases[f"{left:,} bytes left"] = partial(on_full, disk, begun, left, straight)
                cases[f"{left:,} bytes left at the start"] = partial(on_full, disk, None, left, straight)
        chosen = random.Random(seed).sample(sorted(cases), min(refusals, len(cases)))
        found = {name: cases[name]() for name in chosen}
    return {
        "refusals": len(found),
        "a small disk": "mounted" if disk else "skipped: none can be mounted here",
        "ends": {name: end for name, (end, _) in found.items()},
        "faults": [f"{name}: {problem}" for name, (_, each) in found.items() for problem in each],
    }


def _no_writing(*names: str) -> Callable[[Path], None]:
    """Return what takes the permission to write into folders of a run, and to write the files in them."""

    def spoil(run: Path) -> None:
        for folder in (run / name for name in names):
            for path in (folder, *(child for child in folder.iterdir() if child.is_file())):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)

    return spoil


def _no_reading(pattern: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        for path in sorted(run.glob(pattern)) if pattern != "." else [run]:
            path.chmod(0)

    return spoil


PERMISSIONS: dict[str, Callable[[Path], None]] = {
    "a read-only run": _no_writing(".", "checkpoints", "samples"),
    "a read-only results folder": _no_writing(".."),
    "read-only checkpoints": _no_writing("checkpoints"),
    "read-only samples": _no_writing("samples"),
    "a read-only cache": _no_writing("../../cache/pairs"),
    "a record that may not be read": _no_reading("record.json"),
    "checkpoints that may not be read": _no_reading("checkpoints/state-*"),
    "a curve that may not be read": _no_reading("metrics.jsonl"),
    "a lock that may not be read": _no_reading(".lock"),
    "a run that may not be entered": _no_reading("."),
}


def without_permission(
    here: Path, begun: Path, spoil: Callable[[Path], None], straight: Straight
) -> tuple[str, list[str]]:
    """Take a permission from the run, as an ordinary user continue it, and give the permission back."""
    shutil.copytree(begun, here)
    run = folder_in(here).path
    kept = states_of(here)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (here, *here.rglob("*"))}
    if os.getuid() == 0:
        for path in modes:
            os.chown(path, NOBODY, NOBODY)

    def give_back() -> None:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)

    spoil(run)
    ended = Child(lambda: _as_nobody(here)).end()
    give_back()
    found = judged(here, ended, kept, straight)
    shutil.rmtree(here)
    return found


def _as_nobody(place: Path) -> str:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return run_in(place, request_of(METHOD))


@contextmanager
def small_disk(place: Path) -> Iterator[Path | None]:
    """Mount a disk of a few megabytes while the context lasts; None where that is not allowed."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "faults", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def on_read_only(disk: Path, begun: Path, straight: Straight) -> tuple[str, list[str]]:
    """Continue a run on a disk that has become read-only, and again once it may be written."""
    here = disk / "run"
    shutil.copytree(begun, here)
    kept = states_of(here)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = child_run(here, request_of(METHOD))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    found = judged(here, ended, kept, straight)
    shutil.rmtree(here)
    return found


def on_full(disk: Path, begun: Path | None, left: int, straight: Straight) -> tuple[str, list[str]]:
    """Continue or begin a run on a disk with so many bytes left, and again once it is empty."""
    here, ballast = disk / "run", disk / "ballast"
    if begun is None:
        (here / "results").mkdir(parents=True)
    else:
        shutil.copytree(begun, here)
    kept = states_of(here)
    space = os.statvfs(disk)
    ballast.write_bytes(bytes(space.f_bavail * space.f_frsize - left))
    ended = child_run(here, request_of(METHOD))
    ballast.unlink()
    found = judged(here, ended, kept, straight)
    shutil.rmtree(here)
    return found


def states_of(place: Path) -> list[str]:
    """The digests of a run's states, the newest first; none of a run that has not begun."""
    runs = list((place / "results").iterdir())
    return [sha256(file) for file in folder_in(place).states()] if runs else []


def judged(place: Path, ended: Ended, kept: list[str], straight: Straight) -> tuple[str, list[str]]:
    """Say how a run ended, and what was wrong with that or with how it went on afterwards."""
    problems = []
    if ended.code and not ended.refused:
        problems.append(f"ended with {ended.code}: {ended.said}")
    if kept and ended.refused and not set(kept[:1]) & set(states_of(place)):
        newer = [file.name for file in folder_in(place).states()]
        problems += [] if newer else ["its checkpoint is gone"]
    again = child_run(place, request_of(METHOD))
    if again.code:
        problems.append(f"did not go on afterwards: {again.code}: {again.said}")
    else:
        problems += differences(facts(place), straight.facts)
    end = f"exit {ended.code}: {ended.said}" if ended.code else "done all the same"
    return end.replace(str(place), ""), problems
