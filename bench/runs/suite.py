"""A suite: which methods are compared on which teachers, with which seeds and settings, at which
budget. Imports no torch.
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from bench.runs.options import OF_TEACHER, EvaluationOptions, RunOptions
from bench.runs.recipe import Request, checked, make_request, read_fields

MOST_RUNS = 10_000
"""Most runs of a suite."""


class Entry(BaseModel, extra="forbid"):
    """One method of a suite. ``grid`` gives several values for a setting: every combination of them
    is a row of its own.
    """

    method: str
    settings: dict[str, Any] = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    budget: str | None = None
    """In place of the suite's, for instance where the axis means nothing to this method."""

    def variants(self) -> list[dict[str, Any]]:
        """The settings of each row."""
        return [
            self.settings | dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        ]


class Suite(RunOptions):
    """A grid of runs: every method with every seed on every teacher, at one budget."""

    teachers: list[str] = Field(min_length=1)
    methods: list[Entry] = Field(min_length=1)
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    with_teacher: bool = True
    """Measure each teacher's own sampling by the same protocol."""
    trial: bool = False
    """True of a sweep's runs."""

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, methods: Any) -> Any:
        """A method's name alone is an entry."""
        return (
            [{"method": m} if isinstance(m, str) else m for m in methods]
            if isinstance(methods, list)
            else methods
        )

    @model_validator(mode="after")
    def _of_sane_size(self) -> Self:
        """Refuse a grid that multiplies to more runs than anybody can carry out, before it is laid out."""
        rows = sum(math.prod(len(values) for values in entry.grid.values()) for entry in self.methods)
        if (count := rows * len(self.teachers) * len(self.seeds)) > MOST_RUNS:
            raise ValueError(f"its grids multiply to {count:,} runs, expected at most {MOST_RUNS:,}")
        return self

    def requests(self) -> list[Request]:
        """Every run of the grid, the teachers' own first; no run twice. ``data`` is left out, which
        not all methods take.
        """
        settled_below = {"budget", "eval_points", "data"}
        common = self.model_dump(include={*RunOptions.model_fields} - settled_below)
        alone = self.model_dump(include={*EvaluationOptions.model_fields, *OF_TEACHER})
        requests = [
            make_request(method="teacher", teacher=t, **alone)
            for t in self.teachers
            if self.with_teacher
        ]
        for teacher, seed in itertools.product(self.teachers, self.seeds):
            for entry in self.methods:
                requests += [
                    make_request(
                        method=entry.method,
                        teacher=teacher,
                        seed=seed,
                        settings=settings,
                        budget=entry.budget or self.budget,
                        eval_points=self.eval_points,
                        trial=self.trial,
                        **common,
                    )
                    for settings in entry.variants()
                ]
        return list({request.model_dump_json(): request for request in requests}.values())


def read_suite(path: Path, overrides: Mapping[str, Any]) -> Suite:
    """Read a suite file, with what flags give in place of its fields. Raises UsageError for a file or a
    field that does not hold.
    """
    content = read_fields(path, "suite", "methods and seeds")
    return make_suite(content | dict(overrides), f"the suite file {str(path)!r}")


def make_suite(fields: Mapping[str, Any], where: str = "the suite") -> Suite:
    """Make a suite of its fields. Raises UsageError for one that is missing, unknown or out of range."""
    return checked(Suite, fields, where)
