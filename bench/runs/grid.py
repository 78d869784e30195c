"""A grid of runs as data: how each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.runs.budget import Budget
from bench.runs.recipe import Request
from bench.runs.record import Record
from bench.runs.store import find_asked, find_finished
from bench.units import quantity

GridState = Literal["waiting", "running", "done", "failed"]


@dataclass
class GridRun:
    """One run of a grid, and how it stands."""

    request: Request
    state: GridState = "waiting"
    record: Record | None = None
    error: str = ""
    reused: bool = False
    seconds: float = 0.0
    """How long its process took, or has taken so far."""
    not_before: float = 0.0
    """When it may be tried again, on the monotonic clock."""

    @property
    def fraction(self) -> float:
        """How much of its budget is spent, as far as its record says."""
        if self.state == "done" or self.record is None or self.record.recipe.budget is None:
            return float(self.state == "done")
        budget = Budget.parse(self.record.recipe.budget)
        return min(self.record.cost.spent(budget.axis) / budget.amount, 1.0)


def grid_runs(requests: Sequence[Request], results: Path, *, retry: bool = False) -> list[GridRun]:
    """The grid as it stands: what is finished, what failed, and what is still to do. ``retry`` takes failed runs up again."""
    cells = []
    for request in requests:
        cell = GridRun(request, record=find_finished(request, results))
        if cell.record is not None:
            cell.state, cell.reused = "done", True
        elif (record := find_asked(request, results)) is not None:
            cell.record = record
            if record.status == "failed" and not retry:
                cell.state, cell.error = "failed", record.error or "for a reason that its record does not give"
        cells.append(cell)
    return cells


def mismatches(cells: Sequence[GridRun]) -> list[str]:
    """One sentence for each finished run whose cost is not within 1 % of its budget on the budget's axis."""
    found = []
    for cell in cells:
        if cell.state != "done" or cell.record is None or not cell.record.recipe.budget:
            continue
        budget = Budget.parse(cell.record.recipe.budget)
        spent = cell.record.cost.spent(budget.axis)
        if abs(spent / budget.amount - 1) > 0.01:
            amounts = f"{quantity(spent)} {budget.axis} of {quantity(budget.amount)}"
            found.append(f"{cell.record.run_id} spent {amounts}, so large is an iteration")
    return found
