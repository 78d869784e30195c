"""What more trials of settings would bring to each method, from the trials among the records."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.ranking.trials import expected_best
from bench.runs.record import Direction, Record


@dataclass(frozen=True)
class TuningCurve:
    """The expected best number of 1, 2, ... settings of a method that were tried at one budget and seed."""

    method: str
    teacher: str
    metric: str
    protocol: str
    budget: str
    direction: Direction
    expected: tuple[float, ...]
    failed: int
    """Trials that failed, which count as the worst that finished."""

    @property
    def title(self) -> str:
        """The teacher, the metric and the protocol, within which curves are compared."""
        return f"{self.teacher}, {self.metric.upper()} ({self.protocol})"


def tuning_curves(
    records: Iterable[Record], metric: str, protocol: str | None = None
) -> list[TuningCurve]:
    """Return a curve for each method, teacher and protocol that trials are of, in the order of their names.

    Trials of several budgets and seeds are rungs of one halving, say: those of the most settings count, which
    is its first rung, and of as many those of the smaller budget.
    """
    groups: dict[tuple[str, str, str], dict[tuple[float, str, int], list[Record]]] = {}
    for record in records:
        plan, budget = record.recipe.evaluation, record.recipe.budget
        done = record.status == "done" and metric in record.final
        name = plan.protocol if plan and plan.protocol else ""
        if budget is None or not (done or record.status == "failed") or protocol not in (None, name):
            continue
        same = groups.setdefault((record.teacher, name, record.method), {})
        amount = float(budget.partition("=")[2])
        same.setdefault((amount, budget, record.seed), []).append(record)
    curves = []
    for (teacher, name, method), rungs in sorted(groups.items()):
        (_, budget, _), tried = min(rungs.items(), key=lambda rung: (-len(rung[1]), rung[0]))
        finished = [record for record in tried if record.status == "done"]
        if not finished:
            continue
        direction, failed = finished[0].direction(metric), len(tried) - len(finished)
        values = [r.final.get(metric) if r.status == "done" else None for r in tried]
        expected = expected_best(values, direction)
        curves.append(
            TuningCurve(method, teacher, metric, name, budget, direction, tuple(expected), failed)
        )
    return curves
