"""How FID falls with the images that a generator is trained on: as a power of them, or exponentially."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from bench.ranking.claims.evidence import METRIC, SUBJECT, Entry, Evidence
from bench.ranking.claims.finding import Claim, Finding, Known, Verdict
from bench.ranking.comparison import Ratio, compare
from bench.ranking.convergence import Curve, curve_of
from bench.ranking.statistics import interval_of_mean, mean_and_variance

FEWEST_POINTS = 4
"""Fewer evaluations of the trained generator do not show whether a curve is straight."""
STRAIGHT = 0.9
"""Share of the variance of ln FID that a line explains where a curve counts as straight."""
CONTINUED = 1.2
"""Times what a line promises that a curve may end at to count as its continuation."""
POWER_LAW = Claim(
    "power-law",
    "FID falls along a straight line of ln FID against ln images",
    "“SiD ... facilitates an exponentially fast reduction in Fréchet inception distance (FID) during "
    "distillation”, which is shown as a nearly straight line on log-log axes",
    "title, abstract and the figures of FID by images",
    "supported if the 95 % interval of SiD's slope lies below 0, its line has a mean R² of at least "
    f"{STRAIGHT:g}, and the last FID is at most {CONTINUED:g} times what the line through the first half of "
    "the curve promises, with its 95 % interval over seeds; contradicted if the seeds tell that one of them "
    "fails (the interval of R² ends below, the others begin above); otherwise open. A straight line on these "
    "axes is a power law, FID = c · images^slope, and not an exponential.",
)
EXPONENTIAL = Claim(
    "exponential",
    "FID falls exponentially in the literal sense",
    "“exponentially fast”, taken at its word: ln FID falls in proportion to the images",
    "title and abstract",
    "supported if ln FID against images is straighter than ln FID against ln images (95 % interval over "
    "SiD's seeds of the difference in R² lies above 0); contradicted if it lies below 0.",
)


@dataclass(frozen=True)
class Line:
    """A least-squares line."""

    slope: float
    intercept: float
    r2: float | None
    """Share of the variance that it explains; None of what does not vary."""

    @classmethod
    def through(cls, x: Sequence[float], y: Sequence[float]) -> Self:
        """Fit a line to at least two points of different x."""
        x_, y_ = np.asarray(x) - np.mean(x), np.asarray(y) - np.mean(y)
        slope = float(x_ @ y_ / (x_ @ x_))
        left, all_ = float(((y_ - slope * x_) ** 2).sum()), float(y_ @ y_)
        return cls(slope, float(np.mean(y) - slope * np.mean(x)), 1 - left / all_ if all_ else None)

    def at(self, x: float) -> float:
        return self.intercept + self.slope * x


@dataclass(frozen=True)
class Fall:
    """How the FID of one method falls with its images; means are over the seeds."""

    method: str
    seeds: int
    points: int
    """Evaluations of the trained generator that the lines go through, of the seed with the fewest."""
    images: tuple[float, float]
    """Those of the first and of the last of them."""
    slope: float
    """Of ln FID over ln images."""
    interval: tuple[float, float] | None
    r2: float | None
    """Of the line of ln FID over ln images."""
    r2_interval: tuple[float, float] | None
    exponential_r2: float | None
    """Of the line of ln FID over images."""
    straighter: tuple[float, float] | None
    """95 % interval of ``exponential_r2 - r2``."""
    continued: Ratio | None
    """The last FID over what the line through the first half of the curve promises for it; None of one
    seed, and where that half has one point.
    """
    steeper: Known | None
    """What is known of its slope and the paper's method's, all slopes compared at once: better is steeper."""


@dataclass(frozen=True)
class _Seed:
    """The lines of one run."""

    power: Line
    exponential: Line
    continued: float | None
    curve: Curve

    @classmethod
    def of(cls, curve: Curve) -> Self | None:
        """Fit the lines to a curve over images; None where fewer than three points allow it."""
        points = [(c, v) for c, v in zip(curve.costs, curve.values, strict=True) if c > 0 and v > 0]
        if len({c for c, _ in points}) < 3:
            return None
        images, values = zip(*points, strict=True)
        x, y = [math.log(c) for c in images], [math.log(v) for v in values]
        half = [i for i, place in enumerate(x) if place <= (x[0] + x[-1]) / 2]
        continued = None
        if len({x[i] for i in half}) > 1:
            early = Line.through([x[i] for i in half], [y[i] for i in half])
            continued = y[-1] - early.at(x[-1])
        return cls(Line.through(x, y), Line.through(images, y), continued, Curve(images, values))


def falls(evidence: Evidence) -> list[Fall]:
    """Return how the FID of each matched method falls, the paper's method first."""
    seeds = {i: _seeds(evidence.entries[i]) for i in evidence.matched}
    seeds = {i: own for i, own in seeds.items() if own}
    slopes = compare([[[seed.power.slope] for seed in own] for own in seeds.values()], "lower")
    places = {i: place for place, i in enumerate(seeds)}
    found = []
    for i, own in seeds.items():
        subject = places.get(evidence.subject) if evidence.subject is not None else None
        known = None if subject in (None, places[i]) else slopes.against(places[i], subject)
        both = [(s.power.r2, s.exponential.r2) for s in own]
        r2 = [(p, e) for p, e in both if p is not None and e is not None]
        continued = [s.continued for s in own if s.continued is not None]
        found.append(
            Fall(
                method=evidence.entries[i].name,
                seeds=len(own),
                points=min(len(s.curve.costs) for s in own),
                images=(min(s.curve.costs[0] for s in own), max(s.curve.costs[-1] for s in own)),
                slope=_mean([s.power.slope for s in own]),
                interval=slopes.intervals[places[i]],
                r2=_mean([p for p, _ in r2]) if r2 else None,
                r2_interval=_up_to_1(interval_of_mean([p for p, _ in r2])),
                exponential_r2=_mean([e for _, e in r2]) if r2 else None,
                straighter=interval_of_mean([e - p for p, e in r2]),
                continued=_ratio(continued),
                steeper=known,
            )
        )
    return found


def power_law(evidence: Evidence, found: Sequence[Fall]) -> Finding:
    """Judge whether the curve of the paper's method is a straight line on log-log axes."""
    own, missing = _own(evidence, found)
    notes = [
        "Lines go through all evaluations of the trained generator; a seed that lost its way is among them.",
        "Slopes are compared with each other at once (`comparison.compare`), each seed's slope one number.",
    ]
    if own is None or missing:
        return Finding(POWER_LAW, "open", missing, found, notes)
    parts = [_falling(own), _straight(own), _continued(own)]
    verdicts = [verdict for verdict, _ in parts]
    verdict: Verdict = "supported"
    if "contradicted" in verdicts:
        verdict = "contradicted"
    elif "open" in verdicts:
        verdict = "open"
    said = "; ".join(sentence for _, sentence in parts)
    return Finding(POWER_LAW, verdict, f"{said}.{_slopes(found)}", found, notes)


def _falling(own: Fall) -> tuple[Verdict, str]:
    """Judge whether a line falls."""
    low, high = own.interval or (-math.inf, math.inf)
    factor = own.images[1] / own.images[0]
    power = f"{own.slope:.2f} ({low:.2f} to {high:.2f})"
    said = f"over a factor {factor:.0f} of images FID goes as images^{power}"
    return "supported" if high < 0 else "contradicted" if low > 0 else "open", said


def _straight(own: Fall) -> tuple[Verdict, str]:
    """Judge whether a curve is straight."""
    if own.r2 is None or own.r2_interval is None:
        return "open", "FID does not vary along the curves"
    low, high = own.r2_interval
    said = f"the line has R² {own.r2:.3f} ({low:.3f} to {high:.3f})"
    return "supported" if own.r2 >= STRAIGHT else "contradicted" if high < STRAIGHT else "open", said


def _continued(own: Fall) -> tuple[Verdict, str]:
    """Judge whether a curve ends where its first half leads to."""
    ratio = own.continued
    if ratio is None:
        return "open", "its first half has too few points to be continued"
    said = f"the last FID is {ratio} times what the line through the first half promises"
    kept, broken = ratio.high <= CONTINUED, ratio.low > CONTINUED
    return "supported" if kept else "contradicted" if broken else "open", said


def exponential(evidence: Evidence, found: Sequence[Fall]) -> Finding:
    """Judge whether an exponential fits the curve of the paper's method better than a power does."""
    own, missing = _own(evidence, found)
    if own is None or missing:
        return Finding(EXPONENTIAL, "open", missing)
    if own.straighter is None or own.r2 is None or own.exponential_r2 is None:
        return Finding(EXPONENTIAL, "open", "FID does not vary along the curves, so that nothing fits.")
    low, high = own.straighter
    verdict: Verdict = "supported" if low > 0 else "contradicted" if high < 0 else "open"
    said = (
        f"an exponential has R² {own.exponential_r2:.3f}, a power law {own.r2:.3f}; their difference is "
        f"{low:.3f} to {high:.3f} (95 % interval over {own.seeds} seeds)."
    )
    return Finding(EXPONENTIAL, verdict, said)


def _seeds(entry: Entry) -> list[_Seed]:
    every = [_Seed.of(curve_of(run, METRIC, "images")) for run in entry.runs]
    return [seed for seed in every if seed is not None]


def _own(evidence: Evidence, found: Sequence[Fall]) -> tuple[Fall | None, str]:
    """Return the fall of the paper's method, and a sentence on what is missing to judge it, if anything."""
    if evidence.subject is None:
        return None, evidence.no_subject
    own = next((fall for fall in found if fall.method == evidence.entries[evidence.subject].name), None)
    if own is None or own.points < FEWEST_POINTS:
        count = own.points if own else "fewer than three"
        return own, (
            f"a curve has {count} evaluations of the trained generator, and {FEWEST_POINTS} are needed "
            "(--eval-points)."
        )
    if own.seeds < 2:
        return own, f"one seed has no interval: `{evidence.command([SUBJECT])}`."
    return own, ""


def _slopes(found: Sequence[Fall]) -> str:
    """Write which methods fall faster or slower than the paper's: a sentence after a blank, or nothing."""
    words = {"better": "steeper", "worse": "less steep", "open": "not told apart"}
    named = {
        words[known]: ", ".join(fall.method for fall in found if fall.steeper == known)
        for known in words
        if any(fall.steeper == known for fall in found)
    }
    said = "; ".join(f"{word}: {methods}" for word, methods in named.items())
    return f" Beside its slope those of others are {said}." if said else ""


def _mean(values: Sequence[float]) -> float:
    return mean_and_variance(values)[0]


def _up_to_1(ends: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the interval of a share, which is at most 1."""
    return ends and (ends[0], min(ends[1], 1.0))


def _ratio(logs: Sequence[float]) -> Ratio | None:
    """Return the geometric mean of ratios given by their logarithms; None of fewer than two."""
    interval = interval_of_mean(logs)
    return interval and Ratio.of_logs(_mean(logs), *interval)
