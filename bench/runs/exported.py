"""Exported generators: what ``bench export`` writes, as data, and where its weights lie."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from bench.runs.recipe import Recipe
from bench.runs.record import Evaluation, Record

FORMS = {"safetensors": "generator.safetensors", "hf": "model.safetensors", "onnx": "generator.onnx"}
"""The forms of an export, each with the file that holds its weights."""
KEY = "distill-bench"
"""The name under which an ONNX file keeps its description."""


class GeneratorFacts(BaseModel, extra="ignore"):
    """The facts of a generator that whoever calls it needs, and whoever measures it."""

    teacher: str
    channels: int = Field(ge=1, le=1024)
    resolution: int = Field(ge=1, le=2**14)
    label_dim: int = Field(0, ge=0, le=10**6)
    """Length of the one-hot labels; 0 for a generator that takes none."""
    classes: int = Field(0, ge=0, le=10**6)
    """Number of classes that are drawn, the first ones."""
    nfe: int = Field(ge=1)
    """Evaluations of the network for an image."""
    parameters: int = Field(ge=0)
    dataset: str | None = None
    protocol: str | None = None
    """Id of the protocol that measures it by default."""


@dataclass(frozen=True)
class Export:
    """A generator in an exported form, and all that its model card says of it."""

    form: str
    run_id: str
    recipe: Recipe
    """Without the folders of the machine that it was made on."""
    generator: GeneratorFacts
    images: int
    """Images that the generator was trained on."""
    digest: str
    """SHA-256 of the weights as tensors, which is the same in the run's own checkpoint."""
    summary: str
    """The first line of the method's description."""
    bibtex: str
    licence: str
    """Of the teacher's weights, or why it is not known."""
    licence_source: str
    """The page that states it, or what else it is known by."""
    record: Record | None = None
    """The run's, where it is at hand."""
    largest_difference: float | None = None
    """Of a graph: between its images and those of the network that it was made from."""

    @property
    def evaluation(self) -> Evaluation | None:
        """The run's measurement of these weights; None where there is none."""
        history = self.record.evaluations if self.record else []
        return next((e for e in history if e.images == self.images and e.metrics), None)

    @property
    def is_final(self) -> bool:
        """True if the measurement is the run's final one, on seeds that chose nothing."""
        return bool(self.record and self.record.status == "done") and self.evaluation is (
            self.record.evaluations[-1] if self.record and self.record.evaluations else None
        )


def exported_weights(place: Path) -> Path | None:
    """Return the file that holds the weights in an exported folder; None for any other place."""
    if os.path.exists(place / "record.json") or not os.path.isfile(place / "recipe.yaml"):
        return None
    return next((place / name for name in FORMS.values() if os.path.isfile(place / name)), None)


def portable(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe as plain data without the folders of this machine, which mean nothing on another
    and are nobody's business; files are known by their digests.
    """
    bare = dict(recipe)
    bare["teacher_path"] = None
    bare["plugins"] = {Path(path).name: digest for path, digest in recipe.get("plugins", {}).items()}
    bare["data"] = _name(recipe.get("data"))
    bare["settings"] = {
        name: _name(value) if name == "start" else value
        for name, value in recipe.get("settings", {}).items()
    }
    if recipe.get("evaluation"):
        evaluation = dict(recipe["evaluation"])
        evaluation |= {"extractor_path": None, "reference": _name(evaluation.get("reference"))}
        bare["evaluation"] = evaluation
    return bare


def _name(place: Any) -> Any:
    """Return the last part of a path from the root, and anything else as it is."""
    return Path(place).name if isinstance(place, str) and Path(place).is_absolute() else place
