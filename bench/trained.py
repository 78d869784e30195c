"""The weights that a run has trained: found by the run, in a file, or in an exported folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.files.tensors import load_tensors
from bench.runs.exported import exported_weights
from bench.runs.recipe import Recipe, read_recorded
from bench.runs.store import find_run


@dataclass(frozen=True)
class Trained:
    """What a run has trained, and the recipe that it followed."""

    recipe: Recipe
    weights: Path | None
    """None for a run that does not train."""
    run: Path | None
    """Folder of the run, if it is there."""


def find_trained(name: str, results: Path) -> Trained:
    """Find what a run has trained: by the run's id or folder, by a generator's safetensors file, which
    carries its recipe, or by the folder of an export.

    Raises UsageError for what is none of these, and for a run that has no generator yet.
    """
    file = exported_weights(Path(name)) or Path(name)
    if file.is_file():
        recipe = read_recorded(described(file)["recipe"], f"the weights file {name!r}")
        run = file.absolute().parent.parent
        return Trained(recipe, file, run if (run / "record.json").exists() else None)
    folder, record = find_run(name, results)
    recipe = read_recorded(record.recipe, f"the run {record.run_id}")
    if recipe.budget is None:
        return Trained(recipe, None, folder.path)
    if not folder.weights.exists():
        raise UsageError(
            f"the run {record.run_id} has no generator yet, its status is {record.status!r}; "
            "finish it first."
        )
    return Trained(recipe, folder.weights, folder.path)


def described(file: Path) -> dict[str, Any]:
    """Return the description that a generator's weights file carries: its recipe, run, and cost.

    Raises UsageError for a file without one.
    """
    meta = load_tensors(file)[1] if file.suffix == ".safetensors" else {}
    if "recipe" not in meta:
        raise UsageError(
            f"the file {str(file)!r} is no generator of this suite, which would say what run made it; give "
            "a run's checkpoints/generator.safetensors, or for weights of others what they are, as in "
            "`teacher:edm-cifar10 --path FILE`."
        )
    return meta
