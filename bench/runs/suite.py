"""A suite: which methods are compared on which teachers, with which seeds and settings, at which budget. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import UsageError
from bench.runs.recipe import Request, make_request, read_fields


class Entry(BaseModel):
    """One method of a suite. ``grid`` gives several values for a setting: every combination of them is a row of its own."""

    model_config = ConfigDict(extra="forbid")
    method: str
    settings: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    budget: str | None = None
    """In place of the suite's, for instance where the axis means nothing to this method."""

    def variants(self) -> list[dict[str, Any]]:
        """The settings of each row."""
        return [self.settings | dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


class Suite(BaseModel):
    """A grid of runs. Fields after ``budget`` mean what they mean for ``bench run``."""

    model_config = ConfigDict(extra="forbid")
    teachers: list[str] = Field(min_length=1)
    methods: list[Entry] = Field(min_length=1)
    seeds: list[int] = [0, 1, 2]
    budget: str | None = None
    """The same for all: one amount on one axis. None leaves each method its own."""
    with_teacher: bool = True
    """Measure each teacher's own sampling by the same protocol."""
    eval: list[str] | None = None
    eval_samples: int | None = None
    eval_repeats: int | None = None
    eval_points: int | None = None
    protocol: str | None = None
    reference: str | None = None
    extractor_path: str | None = None
    fast: bool = False
    data: str | None = None
    teacher_path: str | None = None
    plugins: list[str] = []
    device: str = "auto"

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """A method's name alone is an entry."""
        return [{"method": each} if isinstance(each, str) else each for each in given] if isinstance(given, list) else given

    def requests(self) -> list[Request]:
        """Every run of the grid, the teachers' own first; no run twice."""
        measured = ("eval", "eval_samples", "eval_repeats", "protocol", "reference", "extractor_path", "fast")
        common = self.model_dump(include={*measured, "teacher_path", "plugins", "device"})
        trained = {"eval_points": self.eval_points}
        found = [make_request(method="teacher", teacher=t, **common) for t in self.teachers if self.with_teacher]
        for teacher, seed in itertools.product(self.teachers, self.seeds):
            for entry in self.methods:
                budget = entry.budget or self.budget
                for settings in entry.variants():
                    asked = {"method": entry.method, "teacher": teacher, "seed": seed, "budget": budget, "settings": settings}
                    found.append(make_request(**asked, **trained, **common, data=self._data(entry.method, settings)))
        return list({request.model_dump_json(): request for request in found}.values())

    def _data(self, method: str, settings: Mapping[str, Any]) -> str | None:
        """The real images given, for those methods alone that learn from some."""
        if self.data is None:
            return None
        from bench.plugin.method import RealImages
        from bench.registry import get
        from bench.settings import resolve

        cls = get("method", method)
        chosen = resolve(method, cls, self.teachers[0], settings).settings
        return self.data if any(isinstance(wanted, RealImages) for wanted in cls.requires(chosen)) else None


def read_suite(path: Path, given: Mapping[str, Any]) -> Suite:
    """A suite file with what flags give in place of its fields. Raises UsageError for a file or a field that does not hold."""
    content = read_fields(path, "suite", "methods and seeds")
    return make_suite(content | dict(given), f"the suite file {str(path)!r}")


def make_suite(fields: Mapping[str, Any], where: str = "the suite") -> Suite:
    """A suite of fields. Raises UsageError for one that is missing, unknown or out of range."""
    try:
        return Suite.model_validate(fields)
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a misspelt field is why another is missing
        place = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f", given {first['input']!r}"
        raise UsageError(f"{where} does not hold: {place}: {first['msg'].lower()}{given}.") from None
