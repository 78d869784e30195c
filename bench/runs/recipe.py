"""A run to be: the request as a person makes it, and the recipe in which every choice is settled.

A recipe decides the run's id: equal recipes are one run, which is resumed or reused and never
repeated. Nothing here imports torch, so that a finished run can be found and shown at once.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from bench.errors import UsageError, explain, one_line
from bench.files.documents import parse_yaml, read_yaml
from bench.runs.options import EvaluationOptions, RunOptions, absolute_if_there
from bench.runs.record import RecordedEvaluation, RecordedRecipe

Model = TypeVar("Model", bound=BaseModel)


def _plain(value: Any) -> Any:
    """A path as its text, and any other collection as a list."""
    return str(value) if isinstance(value, Path) else list(value)


class Request(RunOptions):
    """A run as a person asks for it; None means the default of the method, the teacher or the protocol."""

    method: str
    teacher: str
    seed: int = Field(0, ge=0, lt=2**32)
    settings: dict[str, Any] = {}
    teacher_digest: str | None = None
    """Digest that the teacher's weights must have; a recipe file gives it."""
    supplies: dict[str, str] = {}
    """Identities that the method's requirements must have, by kind; a recipe file gives them."""
    trial: bool = False
    """True of a run that a sweep makes to choose settings, which tables leave out."""

    @field_validator("settings")
    @classmethod
    def _absolute_start(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """As JSON would give them back; a generator to start from may be a run's folder or a file."""
        settings = json.loads(json.dumps(settings, default=_plain))
        start = settings.get("start")
        return settings | {"start": absolute_if_there(start)} if isinstance(start, str) else settings

    @field_validator("teacher")
    @classmethod
    def _absolute_source(cls, name: str) -> str:
        """A teacher ``NAME:FOLDER`` means the same folder wherever the words are said."""
        kind, colon, source = name.partition(":")
        return f"{kind}:{absolute_if_there(source)}" if colon and source else name


class SettledEvaluation(RecordedEvaluation, extra="forbid"):
    """When and how a run is measured, complete: an evaluation that can be carried out.

    What has the name of one of ``EvaluationOptions`` is kept as it was given. A new option that changes a
    number is a field here too; pydantic's ``exclude_if`` leaves it out where it has its default, so that
    the runs of before keep their ids.
    """

    protocol: str
    samples: int
    metrics: list[str]
    repeats: int
    points: int
    fast: bool = False
    kid_subset_size: int | None = Field(default=None, exclude_if=lambda size: size is None)
    kid_subsets: int | None = Field(default=None, exclude_if=lambda subsets: subsets is None)
    extractors: dict[str, str]
    references: str
    code: str = ""

    def as_options(self) -> dict[str, Any]:
        """Return the fields of a request that ask for this evaluation."""
        return {
            "eval": self.metrics,
            "eval_samples": self.samples,
            "eval_repeats": self.repeats,
            "eval_points": self.points,
            **self.model_dump(include={*EvaluationOptions.model_fields}),
        }


class Recipe(RecordedRecipe, extra="forbid"):
    """Every choice of a run, settled. Written to ``recipe.yaml``, from which ``bench run --recipe``
    repeats the run.
    """

    method: str
    method_digest: str
    teacher: str
    seed: int
    budget: str | None
    settings: dict[str, Any]
    evaluation: SettledEvaluation | None
    teacher_digest: str
    classes: int | None = Field(default=None, exclude_if=lambda classes: classes is None)
    on_divergence: Literal["stop", "skip", "rollback"] = Field(
        "stop", exclude_if=lambda policy: policy == "stop"
    )

    def hash(self) -> str:
        """Return the SHA-256 of what determines the result: contents of files count, their places
        do not.
        """
        places: Any = {"evaluation": {"extractor_path", "reference"}}
        identity = without_places(self.model_dump(exclude=places))
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def run_id(self) -> str:
        """The name of the run's folder, ``<method>-<teacher>-s<seed>-<hash>``."""
        return f"{run_prefix(self.method, self.teacher, self.seed)}{self.hash()[:10]}"

    def as_request(self) -> dict[str, Any]:
        """Return the fields of the request that this recipe settles."""
        same = self.model_dump(include={*Request.model_fields})
        evaluation = self.evaluation.as_options() if self.evaluation else {"eval": []}
        return same | {"plugins": list(self.plugins)} | evaluation

    def sampling_request(self, device: str, teacher_path: str | None = None) -> Request:
        """Return the request by which the run's generator is made again, without what training and
        measuring need.

        Plugins are left out and must have been loaded: a file that names a plugin does not make it run.
        """
        return make_request(
            **self.model_dump(
                include={"method", "teacher", "seed", "budget", "settings", "teacher_digest", "classes"}
            ),
            teacher_path=teacher_path or self.teacher_path,
            eval=[],
            device=device,
        )


def without_places(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe as plain data without the places of its files, whose digests say what they hold."""
    same = {name: value for name, value in recipe.items() if name not in ("teacher_path", "data")}
    if "plugin_code" in recipe:
        same.pop("plugins", None)
    else:  # made before code was told from its text
        same["plugins"] = sorted(recipe.get("plugins", {}).values())
    if "start" in recipe.get("supplies", {}):
        same["settings"] = {
            name: value for name, value in recipe.get("settings", {}).items() if name != "start"
        }
    kind, colon, source = recipe.get("teacher", "").partition(":")
    if colon and Path(source).is_absolute():
        same["teacher"] = kind
    return same


def run_prefix(method: str, teacher: str, seed: int) -> str:
    """Return the beginning that the ids of such runs share, in letters that a folder's name can have.

    Of a teacher ``NAME:SOURCE`` whose source is a path, its last part alone is kept.
    """
    kind, colon, source = teacher.partition(":")
    short = kind + colon + (Path(source).name if Path(source).is_absolute() else source)
    method, teacher = (re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60] for name in (method, short))
    return f"{method.lstrip('.') or 'method'}-{teacher}-s{seed}-"


def read_fields(path: Path, what: str, such_as: str) -> dict[str, Any]:
    """The fields of a YAML file that a person may have written. Raises UsageError for a file that
    holds something else.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise UsageError(f"the {what} file {str(path)!r} does not exist; check the path.") from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(f"the {what} file {str(path)!r} cannot be read ({why}).") from None
    except ValueError as error:
        why = one_line(error, 300)
        raise UsageError(
            f"the {what} file {str(path)!r} cannot be read as YAML: {why}; mend it, or give another."
        ) from None
    if not isinstance(content, dict):
        raise UsageError(
            f"the {what} file {str(path)!r} holds {type(content).__name__}, expected fields such as "
            f"{such_as}."
        )
    return content


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the fields of a request from a recipe file that the suite wrote, or from a
    hand-written request.

    Raises UsageError for a file that is neither.
    """
    content = read_fields(path, "recipe", "method and teacher")
    if "teacher_digest" not in content:
        return content
    return checked(Recipe, content, f"the recipe file {str(path)!r}").as_request()


def read_recorded(recorded: RecordedRecipe | Mapping[str, Any], whose: str) -> Recipe:
    """Return the recipe in a record or in a weights file. Raises UsageError for one that this
    version cannot carry out.
    """
    content = recorded.as_given() if isinstance(recorded, RecordedRecipe) else recorded
    return checked(Recipe, content, f"{whose} carries a recipe that")


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``alpha=1.0`` into a name and a value, read as YAML. Raises UsageError if it is not of
    that form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text!r} is not of the form NAME=VALUE, such as --set alpha=1.0.")
    try:
        return name.strip(), parse_yaml(value)
    except ValueError:
        return name.strip(), value


def make_request(**fields: Any) -> Request:
    """A request from flags or fields. Raises UsageError for one that is missing or out of range."""
    return checked(Request, fields, "the request")


def checked(model: type[Model], fields: Mapping[str, Any], what: str) -> Model:
    """Make a model of its fields. Raises UsageError, which says that ``what`` does not hold, for one
    that is missing, unknown or out of range.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"{what} does not hold: {explain(error)}.") from None
