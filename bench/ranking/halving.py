"""What a successive halving has found: who went how far, the winner, and the effort behind it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from bench.errors import BenchError
from bench.ranking.trials import Trial, expected_best, winners_card
from bench.runs.budget import Budget
from bench.runs.card import Card
from bench.runs.halving import Rung
from bench.runs.record import Direction, Record
from bench.units import quantity, short_budget


@dataclass(frozen=True)
class Standing:
    """One choice of settings in one rung, tried on every seed of it."""

    number: int
    """Of the choice: 0 is the present recipe, the next one has the published values."""
    trials: Sequence[Trial]
    """One for each seed, all with the same settings."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that were chosen, at the whole budget."""
        return self.trials[0].settings

    @property
    def values(self) -> list[float | None]:
        """The number of each seed; None of a run that failed, or whose number is not finite."""
        return [_number(trial) for trial in self.trials]

    @property
    def value(self) -> float | None:
        """The mean over the seeds; None where one of them failed, which counts as the worst."""
        found = [value for value in self.values if value is not None]
        return fmean(found) if len(found) == len(self.trials) else None


@dataclass(frozen=True)
class Round:
    """A rung, and how its choices have done."""

    rung: Rung
    standings: Sequence[Standing]


@dataclass(frozen=True)
class Halving:
    """A method's settings tried by successive halving on a teacher."""

    method: str
    teacher: str
    effort: Budget
    """What the whole was allowed to cost, the same for every method."""
    rounds: Sequence[Round]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that all trials had."""

    @property
    def trials(self) -> list[Trial]:
        """Every run of every rung."""
        return [t for one in self.rounds for standing in one.standings for t in standing.trials]

    @property
    def metric(self) -> str:
        """The first metric that was measured, which the trials are judged by."""
        return next(iter(_finished(self.trials, self.method).final))

    @property
    def direction(self) -> Direction:
        """Whether less or more of the metric is better."""
        return _finished(self.trials, self.method).direction(self.metric)

    @property
    def failed(self) -> int:
        """Runs that failed or diverged."""
        return sum(_number(trial) is None for trial in self.trials)

    def spent(self, axis: str) -> float:
        """Return what all the runs cost, on one of the axes of a budget."""
        records = {t.record.run_id: t.record for t in self.trials if t.record is not None}
        return sum(record.cost.spent(axis) for record in records.values())

    def ranked(self, one: Round) -> list[Standing]:
        """Return the choices of a round from the best to the worst; those that failed come last, and of
        equal ones the earlier first.
        """
        sign = 1 if self.direction == "lower" else -1
        return sorted(one.standings, key=lambda s: math.inf if s.value is None else sign * s.value)

    @property
    def best(self) -> Standing:
        """The best choice of the last rung. Raises BenchError if all failed there."""
        best = self.ranked(self.rounds[-1])[0]
        if best.value is None:
            raise BenchError(
                f"no settings of {self.method} came through the last rung: "
                f"{next((t.error for t in best.trials if t.error), 'a number was not finite')}"
            )
        return best

    def expected_best(self) -> list[float]:
        """Return the expected best number of 1, 2, ... settings of the first rung, at its budget."""
        return expected_best([s.value for s in self.rounds[0].standings], self.direction)

    @property
    def summary(self) -> str:
        """What was done to find the winner, in words."""
        record = _finished(self.trials, self.method)
        protocol = record.evaluations[-1].metrics[self.metric].protocol
        rungs = ", ".join(
            f"{len(one.standings)} at {short_budget(str(one.rung.budget))}" for one in self.rounds
        )
        seeds = self.rounds[-1].rung.seeds
        fixed = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        failed = f", of which {self.failed} failed" if self.failed else ""
        return (
            f"best of {len(self.rounds[0].standings)} settings by successive halving ({rungs}) within an "
            f"effort of {short_budget(str(self.effort))}, {len(self.trials)} runs{failed}, by the mean "
            f"{self.metric.upper()} ({protocol}) on seed{'s' * (len(seeds) > 1)} "
            f"{' and '.join(map(str, seeds))}, the rungs before on one seed each from "
            f"{self.rounds[0].rung.seeds[0]}"
            f"{f', all with {fixed}' if fixed else ''}"
        )

    def card(self, base: Card) -> Card:
        """Return a method's card with the winner's settings for this teacher, and the effort behind them."""
        chosen = {**self.settings, **self.best.settings}
        how = "tuned here by" if self.best.number else "tuned here, and kept by"
        source = f"{how} successive halving, {short_budget(str(self.effort))}"
        flops = self.spent("flops")
        return winners_card(
            base, self.teacher, chosen, source, self.summary, runs=len(self.trials), flops=flops
        )

    @property
    def last_line(self) -> str:
        """How the winner stands to the present recipe, in words."""
        best, recipe = self.best, self.rounds[-1].standings[0]
        spent = quantity(self.spent(self.effort.axis))
        what = f"{self.metric.upper()} {best.value:.4g}"
        if best.number == 0:
            return f"The present recipe wins with {what}; {self.effort.axis}={spent} were spent."
        than = "which failed" if recipe.value is None else f"which has {recipe.value:.4g}"
        return (
            f"Trial {best.number} wins with {what} over the present recipe, {than}; "
            f"{self.effort.axis}={spent} were spent."
        )


def _number(trial: Trial) -> float | None:
    """Return the first final number of a run; None where it failed, or the number is not finite."""
    if trial.error or trial.record is None or not trial.record.final:
        return None
    return trial.value(next(iter(trial.record.final)))


def _finished(trials: Sequence[Trial], method: str) -> Record:
    """Return a trial that was finished and measured. Raises BenchError if none was."""
    for trial in trials:
        if _number(trial) is not None and trial.record is not None:
            return trial.record
    reasons = next((trial.error for trial in trials if trial.error), "nothing was measured")
    raise BenchError(f"no trial of {len(trials)} of {method} ended with a number: {reasons}")
