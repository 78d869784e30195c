"""The generator that a run starts from, where that is not the teacher: another run's, or one that its authors released."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench import registry
from bench.assets import fetch
from bench.checkpoint import load_tensors
from bench.errors import BenchError, UsageError, unknown
from bench.files import sha256
from bench.released import Released
from bench.store import RunFolder, find_run


@dataclass(frozen=True)
class Start:
    """A file of generator weights, and what making them cost as far as that is known."""

    file: Path
    digest: str
    flops: int = 0
    seconds: float = 0.0
    teacher: type | None = None
    """Of a released generator: the teacher whose reader reads the file."""

    def weights(self) -> dict[str, Tensor]:
        """The generator's tensors by name."""
        if self.teacher is not None:
            tensors: dict[str, Tensor] = self.teacher(self.file).denoiser.state_dict()
            return tensors
        return load_tensors(self.file)[0]


def find_start(source: str) -> Start:
    """What ``source`` means: a run's folder, a generator's weights file, or ``released:NAME``, which is fetched.

    Raises UsageError for anything else.
    """
    kind, _, name = source.partition(":")
    if kind == "released":
        released: Released = registry.get("released", name)
        file = fetch(released.weights)
        return Start(file, sha256(file), teacher=registry.get("teacher", released.teacher))
    path = Path(source).expanduser()
    file = find_run(str(path), path.parent)[0].weights if path.is_dir() else path
    if not file.is_file():
        raise unknown("starting generator", source, [f"released:{n}" for n in registry.entries("released")])
    if file.suffix != ".safetensors":
        raise UsageError(f"the starting generator {source!r} is not a run's; give its folder or its generator.safetensors.")
    cost = _cost(file)
    return Start(file, sha256(file), int(cost.get("flops", 0)), float(cost.get("seconds", 0.0)))


def _cost(file: Path) -> dict[str, float]:
    try:
        record = RunFolder(file.absolute().parents[1]).read_record()
    except BenchError:
        return {}
    return record.cost if record else {}
