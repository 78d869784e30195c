"""Run folders: one self-describing folder a run, written atomically and by one process at a time."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench import registry
from bench.errors import BenchError, Held, UsageError, unknown
from bench.files.atomic import content_digest, locked, write_atomic
from bench.runs.recipe import Recipe, Request, run_prefix
from bench.runs.record import SCHEMA, Record


def results_folder(given: Path | None = None) -> Path:
    """Where runs are kept: the folder given, else ``BENCH_RESULTS``, else ``results/runs``."""
    return given or Path(os.environ.get("BENCH_RESULTS", "results/runs"))


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunFolder:
    """``recipe.yaml``, ``record.json``, ``metrics.jsonl``, ``samples/`` and ``checkpoints/`` of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "checkpoints" / "state.safetensors"
        self.weights = path / "checkpoints" / "generator.safetensors"
        self.best_weights = path / "checkpoints" / "best.safetensors"
        self.samples = path / "samples"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises Held, naming the holder, if another process has it."""

        def refuse(holder: str) -> None:
            raise Held(f"the run {self.path.name} is held by {holder}; wait for it, or choose another --seed or --results.")

        with locked(self.path / ".lock", refuse):
            yield

    def clear(self) -> None:
        """Remove everything but the lock, to start over."""
        for child in self.path.iterdir():
            if child.name != ".lock":
                shutil.rmtree(child) if child.is_dir() else child.unlink()

    def write_recipe(self, recipe: Recipe) -> None:
        """Write ``recipe.yaml``."""
        write_atomic(self.path / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))

    def write_record(self, record: Record) -> None:
        """Write ``record.json``."""
        write_atomic(self.path / "record.json", record.model_dump_json(indent=1) + "\n")

    def read_record(self) -> Record | None:
        """The run's record, or None if there is none yet. Raises BenchError for a damaged one or a newer schema."""
        return _read(self.path / "record.json")

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to the training curve, ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def rewind_log(self, updates: int) -> None:
        """Drop the lines of the training curve that lie beyond a checkpoint, or that a crash left half-written."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return
        kept = []
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["updates"] <= updates:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                continue
        write_atomic(file, "".join(kept))


def _read(file: Path) -> Record | None:
    """A record, or None if there is none. Raises BenchError for a damaged one or a newer schema."""
    try:
        record = Record.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        newer = _schema(file)
        if newer > SCHEMA:
            raise _of_newer_schema(file, newer) from error
        raise BenchError(f"the record {file} is damaged ({type(error).__name__}); repeat the run with --fresh.") from error
    except OSError as error:
        raise BenchError(f"the record {file} cannot be read: {error.strerror}; see to its permissions.") from error
    if record.schema_ > SCHEMA:
        raise _of_newer_schema(file, record.schema_)
    if record.status == "done" and (missing := _missing(record)):
        raise BenchError(f"the record {file} is damaged (a finished run without {missing}); repeat the run with --fresh.")
    return record


def _schema(file: Path) -> int:
    """The schema that a record says it has, though it does not fit ours; 0 if it says none."""
    try:
        schema = json.loads(file.read_bytes())["schema"]
    except (ValueError, KeyError, TypeError):
        return 0
    return schema if isinstance(schema, int) else 0


def _of_newer_schema(file: Path, schema: int) -> BenchError:
    return BenchError(f"the record {file} has schema {schema}, this suite reads up to {SCHEMA}; update it.")


def _missing(record: Record) -> str:
    """What a finished record lacks of what tables are made of; the empty string if it is whole."""
    lacks = [f"cost.{axis}" for axis in ("images", "updates", "flops", "seconds") if not _is_number(record.cost.get(axis))]
    lacks += [f"recipe.{name}" for name in ("settings", "plugins") if not isinstance(record.recipe.get(name, {}), dict)]
    last = record.evaluations[-1].metrics if record.evaluations else {}
    return ", ".join([*lacks, *(f"final.{name}" for name in last if name not in record.final)])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _records(results: Path, prefix: str) -> Iterator[Record]:
    """The readable records whose folder's name begins so."""
    if not results.is_dir():
        return
    for path in sorted(p for p in results.iterdir() if p.name.startswith(prefix)):
        try:
            record = RunFolder(path).read_record()
        except BenchError:
            continue  # whoever needs this very run will meet it again and say so
        if record is not None:
            yield record


def find_asked(request: Request, results: Path) -> Record | None:
    """The latest run, in whatever state, that was asked for in these words."""
    records = _records(results, run_prefix(request.method, request.teacher, request.seed))
    found = [record for record in records if _is_answer(record, request)]
    return max(found, key=lambda record: record.started, default=None)


def find_finished(request: Request, results: Path) -> Record | None:
    """A finished run that answers exactly this request, found without resolving it, which would import torch.

    The run must have been asked for in the same words, and no file that the words' meaning depended on may have changed.
    """
    for record in _records(results, run_prefix(request.method, request.teacher, request.seed)):
        if record.status == "done" and _is_answer(record, request) and _unchanged(record):
            return record
    return None


def _is_answer(record: Record, request: Request) -> bool:
    """Whether a run was asked for in these words; a field that is newer than the record has its default."""
    try:
        return Request.model_validate(record.request) == request
    except ValidationError:
        return False  # of another version of this suite


def _unchanged(record: Record) -> bool:
    """Whether every file that the run depended on is as it was."""
    return all(Path(f).exists() and content_digest(Path(f)) == digest for f, digest in record.inputs.items())


def find_teacher(results: Path, recipe: Recipe) -> Record | None:
    """The finished record of the teacher itself, sampled its own way and measured as ``recipe`` is."""
    plan = recipe.evaluation
    for record in _records(results, run_prefix("teacher", recipe.teacher, 0).removesuffix("0-")):
        if record.status != "done":
            continue
        try:
            own = Recipe.model_validate(record.recipe)
        except ValidationError:
            continue  # of another version of this suite
        if plan is None or own.evaluation is None or not own_way(own.settings):
            continue
        compared = ("protocol", "samples", "fast", "extractors", "references")
        same_protocol = all(getattr(own.evaluation, name) == getattr(plan, name) for name in compared)
        same_teacher = (own.teacher_digest, own.teacher_code) == (recipe.teacher_digest, recipe.teacher_code)
        if same_protocol and same_teacher and set(plan.metrics) <= set(record.final):
            return record
    return None


def own_way(settings: Mapping[str, Any]) -> bool:
    """Whether a teacher was sampled by its own sampler, with nothing about it chosen."""
    return all(settings.get(name) is None for name in ("steps", "solver", "churn"))


def read_runs(results: Path) -> tuple[list[tuple[RunFolder, Record]], list[str]]:
    """All readable runs below a folder with their records, and one sentence for each that had to be skipped."""
    runs, skipped = [], []
    with uncollected():
        for name in sorted(os.listdir(results)) if results.is_dir() else ():
            folder = RunFolder(results / name)
            try:
                record = folder.read_record()
            except BenchError as error:
                skipped.append(str(error))
                continue
            if record is not None:
                runs.append((folder, record))
            elif any((folder.path / left).exists() for left in ("recipe.yaml", "metrics.jsonl", "checkpoints", "samples")):
                skipped.append(f"the run {folder.path} has no record.json; copy it again, or repeat the run.")
    return runs, skipped


def read_records(results: Path) -> tuple[list[Record], list[str]]:
    """All readable records below a folder, and one sentence for each that had to be skipped."""
    runs, skipped = read_runs(results)
    return [record for _, record in runs], skipped


def find_run(name: str, results: Path) -> tuple[RunFolder, Record]:
    """A run by its folder, its id, or the beginning of its id. Raises UsageError if there is none, or more than one."""
    if (Path(name) / "record.json").is_file():
        matches = [Path(name)]
    else:
        matches = [f.parent for f in sorted(results.glob("*/record.json")) if f.parent.name.startswith(name)]
        matches = [m for m in matches if m.name == name] or matches
    if len(matches) > 1:
        raise UsageError(
            f"{name!r} is the beginning of {len(matches)} runs: {', '.join(m.name for m in matches)}; give more of it."
        )
    if not matches:
        if name in registry.teachers.entries():
            raise UsageError(f"{name!r} is a teacher and no run; say teacher:{name}.")
        raise unknown("run", name, [f.parent.name for f in results.glob("*/record.json")])
    folder = RunFolder(matches[0])
    record = folder.read_record()
    assert record is not None
    return folder, record


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector of reference cycles: records form none, and reading thousands of them takes a quarter of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
