"""The order of the methods where compute is matched on one axis or another."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.ranking.claims.evidence import METRIC, Evidence
from bench.ranking.claims.finding import Claim, Finding, Verdict, listed
from bench.ranking.comparison import Comparison, compare
from bench.ranking.convergence import Curve, curve_of
from bench.ranking.statistics import LEVEL, mean_and_variance
from bench.runs.budget import AXES
from bench.units import quantity

ORDER = ("flops", "images", "seconds", "updates")
CLAIM = Claim(
    "axes",
    "The order of the methods does not depend on the axis of compute",
    "“high iteration efficiency during distillation”, with compute counted in images",
    "abstract; figures of FID by images",
    "supported if the methods, of two seeds at least, have one order at equal FLOPs, images, seconds and "
    "updates; contradicted if two of them are told apart on two axes in opposite orders, seconds left out, "
    "which other work on a machine lengthens; open if places change, but by no more than the seeds leave "
    "open.",
)


@dataclass(frozen=True)
class Standing:
    """One method at equal compute on every axis."""

    method: str
    fid: Mapping[str, float | None]
    """By axis the FID there, a geometric mean over the seeds; None where a seed was not measured so early."""
    place: Mapping[str, int | None]


@dataclass(frozen=True)
class Axis:
    """The methods at one amount of compute."""

    amount: float
    """The most that every run has spent."""
    values: Mapping[int, tuple[float, ...]]
    """By row the FID of each seed."""
    comparison: Comparison

    @classmethod
    def of(cls, curves: Mapping[int, Sequence[Curve]]) -> "Axis":
        """Read the curves, one a seed, where the shortest of them ends."""
        amount = min(curve.costs[-1] for own in curves.values() for curve in own)
        values = dict[int, tuple[float, ...]]()
        for i, own in curves.items():
            read = [
                value for curve in own if (value := curve.value_at(amount)) is not None and value > 0
            ]
            if len(read) == len(own):
                values[i] = tuple(read)
        level = LEVEL / len(ORDER)  # over all axes together 5 %
        rows = [[[v] for v in own] for own in values.values()]
        return cls(amount, values, compare(rows, "lower", level=level))

    def mean(self, row: int) -> float | None:
        own = self.values.get(row)
        return math.exp(mean_and_variance([math.log(v) for v in own])[0]) if own else None

    def ranks(self) -> dict[int, int]:
        """Return the place of each row by its mean; equal means share one."""
        means = {i: mean for i in self.values if (mean := self.mean(i)) is not None}
        return {i: 1 + sum(other < mean for other in means.values()) for i, mean in means.items()}

    def better(self, row: int, other: int) -> bool:
        """Tell whether a row is better than another one beyond chance."""
        places = {i: place for place, i in enumerate(self.values)}
        return bool(self.comparison.better[places[row], places[other]])


def axes(evidence: Evidence) -> Finding:
    """Judge whether the order of the matched methods is that of FLOPs on every axis."""
    if evidence.subject is None:
        return Finding(CLAIM, "open", evidence.no_subject)
    by_axis = {axis: Axis.of(curves) for axis in ORDER if (curves := _curves(evidence, axis))}
    names = {i: evidence.entries[i].name for i in evidence.matched}
    ranks = {axis: read.ranks() for axis, read in by_axis.items()}
    found = [
        Standing(
            name,
            {axis: read.mean(i) for axis, read in by_axis.items()},
            {axis: ranks[axis].get(i) for axis in by_axis},
        )
        for i, name in names.items()
    ]
    notes = _notes(evidence, by_axis)
    if sum(all(i in own for own in ranks.values()) for i in names) < 2 or not by_axis:
        return Finding(
            CLAIM, "open", "fewer than two methods were measured at equal compute.", found, notes
        )
    moved = [i for i in names if len({own[i] for own in ranks.values() if i in own}) > 1]
    opposite = _opposite(by_axis, names)
    verdict: Verdict = "contradicted" if opposite else "open" if moved else "supported"
    if not moved:
        said = "every method has one place on all axes"
        if alone := _of_one_seed(evidence):
            verdict = "open"
            said += f", but of one seed, which says nothing of chance: {listed(alone)}"
        return Finding(CLAIM, verdict, f"{said}.", found, notes)
    said = f"{listed([names[i] for i in moved])} change places between the axes"
    said += (
        f"; told apart in opposite orders: {'; '.join(opposite)}"
        if opposite
        else ", but no two methods are told apart in opposite orders"
    )
    return Finding(CLAIM, verdict, f"{said}.", found, notes)


def _curves(evidence: Evidence, axis: str) -> dict[int, list[Curve]]:
    every = {
        i: [curve_of(run, METRIC, axis) for run in evidence.entries[i].runs] for i in evidence.matched
    }
    kept = {i: [curve for curve in own if curve.costs] for i, own in every.items()}
    return {i: own for i, own in kept.items() if own}


def _of_one_seed(evidence: Evidence) -> list[str]:
    """Return the names of matched rows that have a single seed."""
    entries = [evidence.entries[i] for i in evidence.matched]
    return [entry.name for entry in entries if entry.row.seeds < 2]


def _opposite(by_axis: Mapping[str, Axis], names: Mapping[int, str]) -> list[str]:
    """Write the pairs of which one is better on one axis and the other on another one, beyond chance."""
    said = []
    for i, j in itertools.combinations(names, 2):
        both = {
            axis: read
            for axis, read in by_axis.items()
            if axis != "seconds" and i in read.values and j in read.values
        }
        first = [axis for axis, read in both.items() if read.better(i, j)]
        second = [axis for axis, read in both.items() if read.better(j, i)]
        if first and second:
            said.append(
                f"{names[i]} is better than {names[j]} by {listed(first)}, and worse by {listed(second)}"
            )
    return said


def _notes(evidence: Evidence, by_axis: Mapping[str, Axis]) -> list[str]:
    devices = {run.environment.device for i in evidence.matched for run in evidence.entries[i].runs}
    read = [f"{quantity(axis.amount)} {name}" for name, axis in by_axis.items()]
    notes = [
        f"Axes: {'; '.join(f'{axis}, {AXES[axis]}' for axis in by_axis)}.",
        "Each axis is read at the most that every run of every row has spent on it, by lines on log-log axes "
        f"between the evaluations of each run: at {listed(read)}. All seeds count, lost ones too.",
        "Runs whose learning rate decays to the end of a longer budget are read before their end, so that "
        "this favours schedules that are constant.",
    ]
    if len(devices) > 1:
        notes.append(f"Seconds are of different machines: {listed(sorted(devices))}.")
    if evidence.unmatched:
        notes.append(f"Left out, as trained at other budgets alone: {', '.join(evidence.unmatched)}.")
    return notes
