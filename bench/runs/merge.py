"""Merging: finished runs of other machines are copied into one results folder."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.files.atomic import content_digest, write_atomic
from bench.runs.folder import RunFolder


@dataclass
class Merged:
    """The outcome of a merge."""

    taken: list[str] = field(default_factory=list)
    """Ids of the runs that were copied."""
    there: list[str] = field(default_factory=list)
    """Ids of the runs that the results folder had already."""
    evaluations: list[str] = field(default_factory=list)
    """Files of evaluations that were added to runs that the results folder had already."""
    left: list[str] = field(default_factory=list)
    """One sentence for each run that could not be taken."""


def merge(sources: Sequence[Path], results: Path) -> Merged:
    """Copy the finished runs below ``sources`` into ``results``, each whole or not at all.

    A run that several folders have with the same result is taken once, with the evaluations that were
    made of it later. A run whose folder holds a link, a pipe or a device is left, as what it leads to
    is not its own. Raises UsageError, before anything is copied, for a source that is no folder of
    runs, and for one run with two results, of which both are named.
    """
    merged, folders, later = Merged(), dict[str, Path](), list[Path]()
    for source in sources:
        if not source.is_dir():
            raise UsageError(
                f"{str(source)!r} is no folder of runs; give one that holds <run id>/record.json."
            )
        files = sorted(source.glob("*/record.json"))
        if not files:
            raise UsageError(
                f"{str(source)!r} holds no run; give a folder that holds <run id>/record.json."
            )
        for file in files:
            if sentence := _unfit(file.parent):
                merged.left.append(sentence)
                continue
            name = file.parent.name
            known = folders.get(name) or results / name
            if (known / "record.json").exists():
                if sentence := _differs(known, file.parent):
                    merged.left.append(sentence)
                merged.there += [name] if name not in folders else []
                later += _evaluations(known, file.parent)
            else:
                folders[name] = file.parent
    for name, folder in folders.items():
        _copy(folder, results / name)
        merged.taken.append(name)
    for file in later:
        copy = results / file.parent.parent.name / "evaluations" / file.name
        if copy.exists():
            if copy.read_bytes() != file.read_bytes():
                merged.left.append(
                    f"the evaluation {str(file)!r} is there already with another content."
                )
        else:
            write_atomic(copy, file.read_bytes())
            merged.evaluations.append(str(copy.relative_to(results)))
    return merged


def _evaluations(known: Path, other: Path) -> list[Path]:
    """List the evaluations of a run that is finished here too, and so of the same weights."""
    ours = RunFolder(known).read_record()
    if ours is None or ours.status != "done":
        return []
    return [file for file in sorted((other / "evaluations").glob("*.json")) if file.is_file()]


def _unfit(folder: Path) -> str:
    """Say in a sentence why a run cannot be taken; the empty string if it can."""
    name = folder.name
    if name.startswith(".") or not name.isprintable() or name == "evaluations":
        return f"the folder {name!r} in {str(folder.parent)!r} has a name that no run has."
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return (
                f"the run {str(folder)!r} holds {str(path.relative_to(folder.parent))!r}, which is a link, a "
                "pipe or a device; nothing of it was copied."
            )
    try:
        record = RunFolder(folder).read_record()
    except BenchError as error:
        return str(error)
    if record is None or record.status != "done":
        return f"the run {str(folder)!r} is not finished; it can be continued where it is."
    if record.run_id != folder.name:
        return f"the folder {str(folder)!r} holds the run {record.run_id!r}."
    return ""


def _differs(known: Path, other: Path) -> str:
    """Say why a known record is kept, though another one of the same run is not the same file.

    Returns the empty string if it is the same file. One recipe may have been carried out on two
    machines, with the same result in another time. Raises UsageError where the results are not the same.
    """
    if content_digest(known / "record.json") == content_digest(other / "record.json"):
        return ""
    ours, theirs = RunFolder(known).read_record(), RunFolder(other).read_record()
    assert ours is not None and theirs is not None
    if ours.status != "done":
        return (
            f"the run {str(known)!r} is {ours.status} here and finished in {str(other)!r}; finish it, or "
            "remove it first."
        )
    if (ours.recipe_hash, ours.final) != (theirs.recipe_hash, theirs.final):
        raise UsageError(
            f"{str(known)!r} and {str(other)!r} are one run with two different results; keep the "
            "one that you trust, and move the other away. Nothing was copied."
        )
    return f"the run {str(other)!r} is there already with the same result, from another time or machine."


def _copy(folder: Path, to: Path) -> None:
    """Copy a run's folder so that a reader never sees a part of it.

    Raises UsageError where something is in the way.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".merging-") as scratch:
        copy = shutil.copytree(
            folder, Path(scratch) / folder.name, ignore=shutil.ignore_patterns(".lock")
        )
        if to.exists():  # without a record: what an interrupted run has left
            raise UsageError(f"{str(to)!r} is in the way and has no record; remove it.")
        copy.rename(to)
