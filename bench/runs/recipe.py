"""What to run: the request as a person makes it, and the recipe in which every choice is settled.

A recipe decides the run's id: equal recipes are one run, which is resumed or reused and never repeated. Nothing here
imports torch, so that a finished run can be found and shown at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import UsageError
from bench.registry import entries


class Request(BaseModel):
    """What was asked for; None means the default of the method, the teacher or the protocol."""

    model_config = ConfigDict(extra="forbid")
    method: str
    teacher: str
    seed: int = Field(0, ge=0, lt=2**32)
    budget: str | None = None
    settings: dict[str, Any] = {}
    eval: list[str] | None = None
    """Metrics; an empty list measures nothing."""
    eval_samples: int | None = Field(None, ge=2)
    eval_repeats: int | None = Field(None, ge=1)
    eval_points: int | None = Field(None, ge=1)
    protocol: str | None = None
    reference: str | None = None
    extractor_path: str | None = None
    fast: bool = False
    data: str | None = None
    """Data set in place of the teacher's own, by name or path, for methods that learn from real images."""
    teacher_path: str | None = None
    teacher_digest: str | None = None
    """What the teacher's weights must be; given by a recipe file."""
    supplies: dict[str, str] = {}
    """What the contents that the method requires must be; given by a recipe file."""
    plugins: list[str] = []
    device: str = "auto"

    @field_validator("teacher_path", "plugins", "extractor_path")
    @classmethod
    def _absolute(cls, given: str | list[str] | None) -> str | list[str] | None:
        """The same words in another folder mean another file."""
        if isinstance(given, list):
            return [str(Path(p).expanduser().absolute()) for p in given]
        return str(Path(given).expanduser().absolute()) if given else None

    @field_validator("reference", "data")
    @classmethod
    def _absolute_file(cls, given: str | None) -> str | None:
        """A reference, or data, may be a file or the name of a data set; the name comes first."""
        return given if given in entries("dataset") else _absolute(given)

    @field_validator("settings")
    @classmethod
    def _absolute_start(cls, given: dict[str, Any]) -> dict[str, Any]:
        """As JSON would give them back; a generator to start from may be a run's folder or a file."""
        given = json.loads(json.dumps(given, default=list))
        return given | {"start": _absolute(given["start"])} if isinstance(given.get("start"), str) else given

    @field_validator("teacher")
    @classmethod
    def _absolute_source(cls, given: str) -> str:
        """A teacher ``NAME:FOLDER`` means the same folder wherever the words are said."""
        name, colon, source = given.partition(":")
        here = Path(source).expanduser()
        return f"{name}:{here.absolute()}" if colon and source and here.exists() else given


def _absolute(given: str | None) -> str | None:
    """A path that leads somewhere from here, in words that lead there from everywhere; anything else as it is."""
    return str(Path(given).expanduser().absolute()) if given and Path(given).expanduser().exists() else given


class EvaluationPlan(BaseModel):
    """When and how the run is measured."""

    model_config = ConfigDict(extra="forbid")
    protocol: str
    samples: int
    metrics: list[str]
    repeats: int
    points: int
    fast: bool = False
    extractors: dict[str, str]
    """SHA-256 of the weights by extractor."""
    extractor_path: str | None = None
    reference: str | None = None
    """File or data set given in place of the protocol's."""
    references: str
    """Digests of the files of statistics, names of the data sets that are measured when they are needed."""
    code: str = ""
    """SHA-256 of the source of extractors and metrics: edited ones make another run."""


class Recipe(BaseModel):
    """Every choice of a run, settled. Written to ``recipe.yaml``, from which ``bench run --recipe`` repeats the run."""

    model_config = ConfigDict(extra="forbid")
    method: str
    method_digest: str
    """SHA-256 of the method's source: an edited method is another run."""
    teacher: str
    seed: int
    budget: str | None
    """None for a method that does not train."""
    settings: dict[str, Any]
    evaluation: EvaluationPlan | None
    teacher_digest: str
    teacher_code: str = ""
    """SHA-256 of the teacher's source, and of its noise levels, sampler and augmentation: a changed teacher is another run."""
    teacher_path: str | None = None
    data: str | None = None
    supplies: dict[str, str] = {}
    """What the method requires beside the teacher, by kind: digests of contents, or a data set's name."""
    plugins: dict[str, str] = {}
    """Plugin files and their SHA-256."""

    def hash(self) -> str:
        """SHA-256 of what determines the result: file contents count, their places do not."""
        places: Any = {"evaluation": {"extractor_path", "reference"}}
        identity = without_places(self.model_dump(exclude=places))
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def run_id(self) -> str:
        """``<method>-<teacher>-s<seed>-<hash>``, the name of the run's folder."""
        return f"{run_prefix(self.method, self.teacher, self.seed)}{self.hash()[:10]}"

    def as_request(self) -> dict[str, Any]:
        """The request that resolves to this recipe."""
        plan = self.evaluation
        return {
            "method": self.method,
            "teacher": self.teacher,
            "seed": self.seed,
            "budget": self.budget,
            "settings": self.settings,
            "eval": plan.metrics if plan else [],
            "data": self.data,
            "supplies": self.supplies,
            "teacher_path": self.teacher_path,
            "teacher_digest": self.teacher_digest,
            "plugins": list(self.plugins),
        } | (
            {
                "eval_samples": plan.samples,
                "eval_repeats": plan.repeats,
                "eval_points": plan.points,
                "protocol": plan.protocol,
                "reference": plan.reference,
                "extractor_path": plan.extractor_path,
                "fast": plan.fast,
            }
            if plan
            else {}
        )


def without_places(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe as plain data, without where its files lie: digests say what lies there."""
    same = {name: value for name, value in recipe.items() if name not in ("teacher_path", "data")}
    same["plugins"] = sorted(recipe.get("plugins", {}).values())
    if "start" in recipe.get("supplies", {}):
        same["settings"] = {name: value for name, value in recipe.get("settings", {}).items() if name != "start"}
    kind, colon, source = recipe.get("teacher", "").partition(":")
    if colon and Path(source).is_absolute():
        same["teacher"] = kind
    return same


def run_prefix(method: str, teacher: str, seed: int) -> str:
    """How the ids of such runs begin; of a teacher ``NAME:SOURCE`` what a folder's name can hold."""
    kind, colon, source = teacher.partition(":")
    short = kind + colon + (Path(source).name if Path(source).is_absolute() else source)
    return f"{method}-{re.sub(r'[^A-Za-z0-9._-]+', '-', short)[:60]}-s{seed}-"


def read_fields(path: Path, what: str, such_as: str) -> dict[str, Any]:
    """The fields of a YAML file that a person may have written. Raises UsageError for a file that holds something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"the {what} file {str(path)!r} does not exist; check the path.") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the {what} file {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UsageError(f"the {what} file {str(path)!r} holds {kind}, expected fields such as {such_as}.")
    return content


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe file as the fields of a request: one that the suite wrote, or a hand-written request in YAML."""
    content = read_fields(path, "recipe", "method and teacher")
    if "teacher_digest" not in content:
        return content
    try:
        return Recipe.model_validate(content).as_request()
    except ValidationError as error:
        raise UsageError(f"the recipe file {str(path)!r} does not hold: {_first(error)}.") from None


def read_recorded(content: Any, whose: str) -> Recipe:
    """The recipe in a record or in a weights file. Raises UsageError for one that is not of this suite's making."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{whose} carries a recipe that does not hold: {_first(error)}.") from None


def parse_setting(text: str) -> tuple[str, Any]:
    """``alpha=1.0`` as a name and a value. Raises UsageError if it is not of that form."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text!r} is not of the form NAME=VALUE, such as --set alpha=1.0.")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        return name.strip(), value


def make_request(**fields: Any) -> Request:
    """A request from flags or fields. Raises UsageError for one that is missing or out of range."""
    try:
        return Request.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"the request does not hold: {_first(error)}.") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'].lower()}" + ("" if first["type"] == "missing" else f", given {first['input']!r}")
