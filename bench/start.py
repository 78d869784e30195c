"""The generator that a run starts from, where that is not the teacher: another run's, or one that its authors released."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench import registry
from bench.assets import fetch
from bench.checkpoint import load_tensors
from bench.errors import UsageError
from bench.files import sha256
from bench.released import Released
from bench.store import find_run, results_folder
from bench.teacher import Teacher


@dataclass(frozen=True)
class Start:
    """A file of generator weights, and what making them cost; of a released generator that is not known and counts as nothing."""

    file: Path
    digest: str
    flops: int = 0
    seconds: float = 0.0
    reader: type[Teacher] | None = None
    """Of a released generator: the teacher that reads such files."""

    def weights(self) -> dict[str, Tensor]:
        """The generator's tensors by name."""
        return self.reader(self.file).denoiser.state_dict() if self.reader else load_tensors(self.file)[0]


def find_start(source: str, teacher: Teacher, name: str) -> Start:
    """What ``source`` means: a run's folder, a generator's weights file, or ``released:NAME``, which is fetched.

    Raises UsageError for anything else, and for a generator that was made from another teacher than ``teacher``, called ``name``.
    """
    kind, _, known = source.partition(":")
    if kind == "released":
        released: Released = registry.get("released", known)
        if released.teacher != name:
            raise UsageError(f"the starting generator {source!r} was made from {released.teacher!r}, not {name!r}; give another.")
        file = fetch(released.weights)
        return Start(file, sha256(file), reader=registry.get("teacher", released.teacher))
    path = Path(source)
    a_run = path.is_dir() or (results_folder() / source).is_dir()
    file = find_run(source, path.parent if path.is_dir() else results_folder())[0].weights if a_run else path
    if a_run and not file.is_file():
        raise UsageError(f"the run {source!r} has no generator yet; finish it first, or start from another.")
    if not file.is_file():
        released_ones = [f"released:{n}" for n in registry.entries("released") if registry.get("released", n).teacher == name]
        raise UsageError(
            f"unknown starting generator {source!r}; give a run's id or folder, its generator.safetensors, or one of "
            f"{', '.join(released_ones) or 'none released for this teacher'}."
        )
    meta = load_tensors(file)[1] if file.suffix == ".safetensors" else {}
    if "recipe" not in meta:
        raise UsageError(f"the starting generator {source!r} is not a run's; give its folder or its generator.safetensors.")
    if meta["recipe"].get("teacher_digest") != teacher.digest():
        raise UsageError(f"the starting generator {source!r} was made from another teacher than {name!r}; give another.")
    cost = meta.get("cost", {})
    return Start(file, sha256(file), int(cost.get("flops", 0)), float(cost.get("seconds", 0.0)))
