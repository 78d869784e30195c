"""A grid of runs as data: how each of them stands, and what runs would cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import few
from bench.files.assets import UNKNOWN, Asset
from bench.runs.budget import Budget
from bench.runs.recipe import Recipe, Request, run_prefix
from bench.runs.record import Record
from bench.runs.store import find_asked, find_finished, find_outdated, read_records
from bench.units import quantity


@dataclass
class GridRun:
    """One run of a grid, and how it stands."""

    request: Request
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    record: Record | None = None
    error: str = ""
    reused: bool = False
    seconds: float = 0.0
    """Time that its process took, or has taken so far."""
    not_before: float = 0.0
    """When it may be tried again, on the monotonic clock."""
    changed: Sequence[Path] = ()
    """Files that have changed since it was finished, where it was; it has not begun again since."""

    @property
    def fraction(self) -> float:
        """The part of its budget that is spent, as far as its record says."""
        if self.state == "done" or self.record is None or self.record.recipe.budget is None:
            return float(self.state == "done")
        budget = Budget.parse(self.record.recipe.budget)
        return min(self.record.cost.spent(budget.axis) / budget.amount, 1.0)


def grid_runs(requests: Sequence[Request], results: Path, *, retry: bool = False) -> list[GridRun]:
    """Find how the runs of a grid stand: finished, failed, or still to do. ``retry`` takes failed
    ones up again.
    """
    runs = []
    for request in requests:
        run = GridRun(request, record=find_finished(request, results))
        if run.record is not None:
            run.state, run.reused = "done", True
        elif (record := find_asked(request, results)) is not None:
            run.record = record
            if record.status == "failed" and not retry:
                run.state, run.error = (
                    "failed",
                    record.error or "for a reason that its record does not give",
                )
            elif record.status == "done" and (outdated := find_outdated(request, results)):
                run.changed = outdated[1]
        runs.append(run)
    return runs


def shared_seeds(requests: Sequence[Request], results: Path) -> list[str]:
    """Write a sentence for each seed of a method that both chooses settings and stands in tables, here or in
    the results folder: its number is the best of several.
    """
    sentences = []
    for method, teacher, seed, trial in dict.fromkeys(
        (request.method, request.teacher, request.seed, request.trial) for request in requests
    ):
        records, _ = read_records(results, run_prefix(method, teacher, seed))
        if any(record.request.get("trial", False) != trial for record in records):
            other = "is that of runs for tables too" if trial else "has chosen settings"
            sentences.append(
                f"seed {seed} of {method} on {teacher} {other}: take others, as numbers of a seed that "
                "chooses settings are too good"
            )
    return sentences


def labels(runs: Sequence[GridRun]) -> list[str]:
    """Label each run by method, what was set by hand, the budget where not all have the same, and
    the teacher.
    """
    budgets = {run.request.budget for run in runs if run.request.method != "teacher"}
    texts = []
    for request in (run.request for run in runs):
        choices = [f"{name}={value}" for name, value in request.settings.items()]
        choices += [request.budget] if request.budget and len(budgets) > 1 else []
        settings = f" ({', '.join(choices)})" if choices else ""
        texts.append(f"{request.method}{settings} on {request.teacher}")
    return texts


def repetitions(runs: Sequence[GridRun]) -> list[str]:
    """Write how many runs will be carried out again and why: a sentence for each set of changed files."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        if run.state == "waiting" and run.changed:
            alike.setdefault(tuple(sorted({p.name for p in run.changed})), []).append(label)
    sentences = []
    for files, names in alike.items():
        code = any(name.endswith(".py") for name in files)  # of which a digest is in the recipe
        again = (
            "will be carried out again" if code else "will be carried out again where that changes them"
        )
        sentences.append(
            f"{len(names)} of {len(runs)} runs {again}, as {few(files)} "
            f"{'has' if len(files) == 1 else 'have'} changed since: {few(dict.fromkeys(names))}"
        )
    return sentences


def budget_mismatches(runs: Sequence[GridRun]) -> list[str]:
    """Write a sentence for each finished run whose cost is not within 1 % of its budget on the
    budget's axis.
    """
    sentences = []
    for record in (run.record for run in runs if run.state == "done"):
        if record is None or not record.recipe.budget:
            continue
        budget = Budget.parse(record.recipe.budget)
        spent = record.cost.spent(budget.axis)
        if abs(spent / budget.amount - 1) > 0.01:
            sentences.append(
                f"{record.run_id} spent {quantity(spent)} {budget.axis} of {quantity(budget.amount)}, so "
                "large is an iteration"
            )
    return sentences


@dataclass(frozen=True)
class Cost:
    """The cost of a run on every axis, the part of it that comes before training, and the memory that
    it needs, in bytes.
    """

    totals: dict[str, float]
    before_training: dict[str, float]
    """FLOPs and seconds of what is made before the first update."""
    memory: float


@dataclass(frozen=True)
class RunEstimate:
    """A run as it would be. ``budget`` and ``cost`` are None for a method that does not train."""

    recipe: Recipe
    budget: Budget | None
    cost: Cost | None
    initial_generator_flops: int | None
    """Cost of the generator that it starts from, as far as that is known; None if there is none."""
    pairs: tuple[int, int] | None
    """Number of the teacher's pairs and Heun steps for each; None if there are none."""
    missing: Sequence[Asset] = ()
    """Files that the run will fetch."""
    note: str = ""
    """A remark on its settings; empty if there is none."""

    @property
    def run_id(self) -> str:
        """The run's id, as far as its files are there."""
        return UNKNOWN if UNKNOWN in self.recipe.model_dump_json() else self.recipe.run_id


@dataclass(frozen=True)
class GridEstimate:
    """The runs of a grid that differ in their seed alone: how many there are and are done, and what
    each would cost.
    """

    label: str
    runs: int
    done: int
    budget: Budget | None
    cost: Cost | None
    missing: Sequence[Asset] = ()
    """Files that the runs will fetch."""
