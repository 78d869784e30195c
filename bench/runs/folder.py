"""The folder of one run, which explains itself; one process at a time writes it, atomically."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, Held, explain
from bench.files.atomic import files_in, locked, sha256, write_atomic
from bench.files.documents import dump_yaml, parse_json, read_regular, require_numbers
from bench.runs.budget import AXES
from bench.runs.recipe import Recipe
from bench.runs.record import SCHEMA, Record

MOST_BYTES = 2**28
"""Largest record or training curve that is read: a million lines of some 200 bytes, one for 50 updates."""
SUMS = "SHA256SUMS"


def now() -> str:
    """Return the time in UTC by ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunFolder:
    """The folder of one run.

    It holds ``recipe.yaml``, ``record.json``, ``metrics.jsonl``, ``samples/`` and ``checkpoints/``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.weights = path / "checkpoints" / "generator.safetensors"
        self.best_weights = path / "checkpoints" / "best.safetensors"
        self.samples = path / "samples"

    @contextmanager
    def locked(
        self, advice: str = "wait for it, or choose another --seed or --results."
    ) -> Iterator[None]:
        """Hold the run for this process while the context lasts.

        Raises Held, naming the holder, if another process has it; ``advice`` says what to do then.
        """

        def refuse(holder: str) -> None:
            raise Held(f"the run {self.path.name} is held by {holder}; {advice}")

        with locked(self.path / ".lock", refuse):
            yield

    def state(self, updates: int) -> Path:
        """Return the file of the training state after so many updates."""
        return self.checkpoints / f"state-{updates:012d}.safetensors"

    def states(self) -> list[Path]:
        """List the training states that are there, the newest first."""
        return sorted(self.checkpoints.glob("state-*.safetensors"), reverse=True)

    def milestone(self, images: int) -> Path:
        """Return the file of the generator's weights kept after so many training images."""
        return self.checkpoints / f"generator-{images:012d}.safetensors"

    def milestones(self) -> list[Path]:
        """List the generators that were kept along the run, the earliest first."""
        return sorted(self.checkpoints.glob("generator-*.safetensors"))

    def grid(self, images: int) -> Path:
        """Return the file of the sample grid made after so many training images."""
        return self.samples / f"{images:012d}.png"

    def clear(self) -> None:
        """Remove everything but the lock, to start over.

        The record goes first, since it stands for the rest.
        """
        record = self.path / "record.json"
        for child in sorted(self.path.iterdir(), key=lambda child: child != record):
            if child.name != ".lock":
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()

    def write_recipe(self, recipe: Recipe) -> None:
        """Write ``recipe.yaml``."""
        write_atomic(self.path / "recipe.yaml", dump_yaml(recipe.model_dump(mode="json")))

    def write_record(self, record: Record) -> None:
        """Write ``record.json``, with a digest of itself in its last line."""
        write_atomic(self.path / "record.json", _sealed(record.model_dump_json(indent=1)))

    def write_finished(self, record: Record) -> None:
        """Write ``SHA256SUMS`` of a finished run's files, as ``sha256sum -c`` reads it, and then the record,
        which makes it a finished one: wherever this is interrupted, there is none without its sums.
        """
        file, text = self.path / "record.json", _sealed(record.model_dump_json(indent=1))
        apart = (SUMS, file.name, "curve.png", ".lock")
        sums = {f: sha256(f) for f in files_in(self.path) if f.name not in apart}
        sums |= {file: hashlib.sha256(text.encode()).hexdigest()}
        lines = [f"{sums[f]}  {f.relative_to(self.path).as_posix()}\n" for f in sorted(sums)]
        write_atomic(self.path / SUMS, "".join(lines))
        write_atomic(file, text)

    def read_record(self) -> Record | None:
        """Read ``record.json``; None if there is none yet.

        Raises BenchError for a damaged one or a newer schema.
        """
        file = self.path / "record.json"
        try:
            text = _opened(read_regular(file, MOST_BYTES))
            require_numbers(text)
            record = Record.model_validate_json(text)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            for problem in error.errors():
                if problem["loc"] == ("schema",) and problem["type"] == "less_than_equal":
                    raise BenchError(
                        f"the record {file} has schema {problem['input']}, this suite reads up to "
                        f"{SCHEMA}; update it."
                    ) from error
            raise _damaged(file, explain(error)) from error
        except OSError as error:
            raise BenchError(
                f"the record {file} cannot be read: {error.strerror}; see to its permissions."
            ) from error
        except ValueError as error:
            raise _damaged(file, str(error)) from error
        if "seal" in (record.model_extra or {}):
            raise _damaged(file, "its seal is in another place or form than it was written")
        if record.status == "done" and (missing := _missing(record)):
            raise _damaged(file, f"a finished run without {missing}")
        return record

    def changed_files(self) -> list[str] | None:
        """Name the files of a finished run that are not as they were; None if no ``SHA256SUMS`` is there."""
        try:
            text = read_regular(self.path / SUMS, MOST_BYTES).decode(errors="replace")
        except (OSError, ValueError):
            return None
        sums = [line.partition("  ") for line in text.splitlines()]
        whole = {name for digest, _, name in sums if _digest_of(self.path / name) == digest}
        return sorted({name or "SHA256SUMS" for _, _, name in sums} - whole)

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to the training curve, ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def rewind_log(self, updates: int) -> None:
        """Drop the damaged lines of the training curve, and those after so many updates.

        Raises BenchError if it is no file.
        """
        file = self.path / "metrics.jsonl"
        if not os.path.lexists(file):
            return
        try:
            lines = read_regular(file, MOST_BYTES).decode("utf-8", "replace").splitlines()
        except PermissionError as error:
            raise BenchError(
                f"the training curve {file} cannot be read: {error.strerror}; see to its permissions."
            ) from None
        except (ValueError, OSError) as error:
            raise BenchError(f"the training curve {file} cannot be read: {error}; remove it.") from None
        kept = [line + "\n" for line in lines if (at := _updates(line)) is not None and at <= updates]
        write_atomic(file, "".join(kept))


_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\n\Z')
"""The last line of a record: the SHA-256 of all before it."""


def _sealed(text: str) -> str:
    """Return the text of a record with its digest as a last field."""
    body = text.removesuffix("\n}")
    return f'{body},\n "seal": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def _opened(text: bytes) -> bytes:
    """Return the text of a record without its seal, which earlier versions did not write.

    Raises ValueError for a text that is not as it was sealed.
    """
    if (seal := _SEAL.search(text, max(len(text) - 100, 0))) is None:
        return text
    if hashlib.sha256(text[: seal.start()]).hexdigest() != seal[1].decode():
        raise ValueError("it has changed since it was written; who changed it by hand removes its seal")
    return text[: seal.start()] + b"\n}\n"


class SharedRunFolder(RunFolder):
    """A run's folder to a process that is not the main one of its job: it reads, and writes nothing."""

    @contextmanager
    def locked(self, advice: str = "") -> Iterator[None]:
        """Rely on the lock of the main process."""
        yield

    def clear(self) -> None:
        """Leave it to the main process, as all that follows."""

    def write_recipe(self, recipe: Recipe) -> None: ...

    def write_record(self, record: Record) -> None: ...

    def write_finished(self, record: Record) -> None: ...

    def log(self, line: dict[str, Any]) -> None: ...

    def rewind_log(self, updates: int) -> None: ...


def _digest_of(file: Path) -> str:
    """Return a file's SHA-256; the empty string if it cannot be read."""
    try:
        return sha256(file) if file.is_file() else ""
    except OSError:
        return ""


def _updates(line: str) -> float | None:
    """Return the updates that a line of the training curve stands at, or None for a damaged one."""
    try:
        content = parse_json(line)
    except ValueError:
        return None
    at = content.get("updates") if isinstance(content, dict) else None
    return at if isinstance(at, int | float) else None


def _damaged(file: Path, reason: str) -> BenchError:
    return BenchError(f"the record {file} is damaged ({reason}); repeat the run with --fresh.")


def _missing(record: Record) -> str:
    """Name what a finished record lacks of what tables are made of; the empty string if it is whole."""
    lacks = [f"cost.{axis}" for axis in AXES if axis not in record.cost.model_fields_set]
    last = record.evaluations[-1].metrics if record.evaluations else {}
    return ", ".join([*lacks, *(f"final.{name}" for name in last if name not in record.final)])
