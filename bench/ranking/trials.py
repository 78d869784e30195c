"""The trials of a sweep: which settings were best, how much more trials would help, and the winner as a
method's card.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError
from bench.runs.card import Card, Tuning
from bench.runs.record import Direction, Record
from bench.units import short_budget


def is_trial(record: Record) -> bool:
    """Tell whether a sweep has made a run, to choose settings by its number."""
    return bool(record.request.get("trial"))


@dataclass(frozen=True)
class Trial:
    """One choice of settings, and the run that tried it."""

    settings: Mapping[str, Any]
    record: Record | None
    """None where the run failed before it had a record."""
    error: str = ""
    """Why it failed; empty for a finished one."""

    def value(self, metric: str) -> float | None:
        """Return its final number; None where it failed, or where that is not finite."""
        value = None if self.error or self.record is None else self.record.final.get(metric)
        return value if value is not None and math.isfinite(value) else None


def expected_best(values: Sequence[float | None], direction: Direction) -> list[float]:
    """Return the expected best number of 1, 2, ... trials with these numbers, drawn without replacement.

    Where it still falls at the end, more trials would help. A failed trial, None, counts as the worst that
    finished, one of which there must be. (Dodge et al., Show Your Work, EMNLP 2019, who draw with
    replacement.)
    """
    found = sorted((v for v in values if v is not None), reverse=direction == "higher")
    n, padded = len(values), found + found[-1:] * (len(values) - len(found))
    return [
        sum(math.comb(n - 1 - i, k - 1) / math.comb(n, k) * value for i, value in enumerate(padded))
        for k in range(1, n + 1)
    ]


@dataclass(frozen=True)
class Sweep:
    """Trials of a method on a teacher at one budget and one seed, which is none of a table's."""

    method: str
    teacher: str
    seed: int
    by: str
    """How the settings were chosen: ``random``, ``grid`` or ``optuna``."""
    trials: Sequence[Trial]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that all trials had."""

    @property
    def metric(self) -> str:
        """The first metric that was measured, which the trials are judged by."""
        return next(iter(self._finished.final))

    @property
    def direction(self) -> Direction:
        """Whether less or more of the metric is better."""
        return self._finished.direction(self.metric)

    @property
    def _finished(self) -> Record:
        """A trial that was finished and measured. Raises BenchError if none was."""
        for trial in self.trials:
            if trial.record is not None and not trial.error and trial.record.final:
                return trial.record
        reasons = next((trial.error for trial in self.trials if trial.error), "nothing was measured")
        raise BenchError(f"no trial of {len(self.trials)} ended with a number: {reasons}")

    def value(self, trial: Trial) -> float | None:
        """Return the final number of a trial; None of one that failed."""
        return trial.value(self.metric)

    @property
    def ranked(self) -> list[Trial]:
        """The trials from the best to the worst; those that failed come last."""
        sign = 1 if self.direction == "lower" else -1

        def order(trial: Trial) -> float:
            value = self.value(trial)
            return math.inf if value is None else sign * value

        return sorted(self.trials, key=order)

    @property
    def best(self) -> Trial:
        """The best trial. Raises BenchError if all failed."""
        return self.ranked[0]

    def expected_best(self) -> list[float]:
        """Return the expected best number of 1, 2, ... of these trials."""
        return expected_best([self.value(trial) for trial in self.trials], self.direction)

    @property
    def effort(self) -> str:
        """What was done to find the winner, in words."""
        record = self._finished
        protocol = record.evaluations[-1].metrics[self.metric].protocol
        failed = sum(1 for trial in self.trials if self.value(trial) is None)
        budget = short_budget(record.recipe.budget) if record.recipe.budget else "none"
        fixed = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return (
            f"best of {len(self.trials)} trials ({self.by}{f', {failed} failed' if failed else ''}) by "
            f"{self.metric.upper()} ({protocol}), seed {self.seed}, budget {budget}"
            f"{f', all with {fixed}' if fixed else ''}"
        )

    def card(self, base: Card) -> Card:
        """Return a method's card with the winner's settings for this teacher, and the effort behind them,
        which adds to what the card tells of before.
        """
        chosen = {**self.settings, **self.best.settings}
        source = f"tuned here: {self.effort}"
        flops = sum(trial.record.cost.flops for trial in self.trials if trial.record is not None)
        return winners_card(
            base, self.teacher, chosen, source, self.effort, runs=len(self.trials), flops=flops
        )


def winners_card(
    base: Card,
    teacher: str,
    chosen: Mapping[str, Any],
    source: str,
    effort: str,
    *,
    runs: int,
    flops: float,
) -> Card:
    """Return a card with the chosen settings for a teacher, and the effort behind them added to what the
    card tells of before.
    """
    teacher = teacher.partition(":")[0]
    before = base.tuning.get(teacher, Tuning(runs=0, note="", flops=0))
    if effort in before.note:  # the same search, told again
        runs, flops, effort = 0, 0.0, ""
    facts = base.model_dump(exclude_defaults=True)
    values = {name: {"value": value, "source": source} for name, value in chosen.items()}
    facts.setdefault("teachers", {})[teacher] = facts.get("teachers", {}).get(teacher, {}) | values
    facts.setdefault("tuning", {})[teacher] = {
        "runs": before.runs + runs,
        "note": "; ".join(note for note in (before.note, effort) if note),
        "flops": None if before.flops is None else before.flops + flops,
    }
    return Card.model_validate(facts)
