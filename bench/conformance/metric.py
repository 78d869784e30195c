"""The facts that a metric keeps, looked at on features of a known distribution."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.conformance.finding import Check, Doubt, Fault, NotApplicable
from bench.evaluation.evaluator import as_number
from bench.plugin.metric import FeatureMetric, GeneratorMetric, Metric

IMAGES, DIMENSIONS = 1024, 16
"""Number and length of the features that are tried."""
LEVELS = (0.0, 0.25, 0.5, 1.0)
"""How far features are corrupted: at 1 their mean has moved by three deviations, or all are one vector."""
SLACK = 0.05
"""Part of the metric's response to corruption that may be chance."""
ORDERED = 5.0
"""How many times as far as random orders do all orders may move a metric that draws subsets."""
CALL_SECONDS = 0.1
"""Duration of a call of the generator that is timed."""
CPU = torch.device("cpu")


@dataclass
class MetricSubject:
    """A metric by its name, with parameters in place of its own, and features to try it on."""

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    @cached_property
    def metric(self) -> Metric:
        """The metric."""
        return registry.metrics.get(self.name)(**self.overrides)

    @property
    def of_features(self) -> FeatureMetric:
        """The metric as one of features. Raises NotApplicable for one of the generator itself."""
        if not isinstance(self.metric, FeatureMetric):
            raise NotApplicable("it measures the generator itself and not its images")
        return self.metric

    @cached_property
    def images(self) -> int:
        """Number of features: as many as the metric needs."""
        return max(IMAGES, self.of_features.fewest)

    def draw(self, seed: int) -> Tensor:
        """Features (N, d) of real images; those of other seeds are of the same distribution."""
        generator = torch.Generator().manual_seed(seed)
        return 2 * torch.randn(self.images, DIMENSIONS, generator=generator)

    @cached_property
    def reference(self) -> Any:
        """The prepared statistics of real images; None for a metric that does not compare."""
        kind = self.of_features.reference_statistics
        if kind is None:
            return None
        accumulator = kind(self.images)
        accumulator.update(self.draw(0), 0)
        return self.of_features.prepare(accumulator.statistics())

    def value(self, features: Tensor, batch: int | None = None) -> float:
        """The metric of generated features, which are taken in so many at a time."""
        accumulator = self.of_features.statistics(len(features))
        size = batch or len(features)
        for first in range(0, len(features), size):
            accumulator.update(features[first : first + size], first)
        return as_number(self.name, self.of_features.value(accumulator.statistics(), self.reference))

    def corrupted(self, features: Tensor, level: float) -> Tensor:
        """Features moved away from the real ones, or for a metric that does not compare, nearer to one."""
        if self.reference is not None:
            return features + 6 * level
        return (1 - level) * features + level * features.mean(0)

    @cached_property
    def response(self) -> list[float]:
        """The metric of fresh features at each level of corruption."""
        corrupted = (self.corrupted(self.draw(1), level) for level in LEVELS[1:])
        return [self.fresh, *map(self.value, corrupted)]

    @cached_property
    def fresh(self) -> float:
        """The metric of other features of the reference's distribution."""
        return self.value(self.draw(1))

    @property
    def scale(self) -> float:
        """How far corruption moves the metric."""
        return max(self.response) - min(self.response)

    def worse(self, value: float, other: float) -> float:
        """By how much ``value`` is worse than another."""
        return value - other if self.metric.direction == "lower" else other - value


def gives_a_finite_number(subject: MetricSubject) -> None:
    """It says which direction is better, and gives one finite number."""
    metric = subject.metric
    if metric.direction not in ("lower", "higher"):
        raise Fault(
            f"its direction is {metric.direction!r}", "say direction = 'lower' or 'higher' is better"
        )
    if isinstance(metric, GeneratorMetric):
        as_number(subject.name, metric.measure(lambda n: time.sleep(CALL_SECONDS), CPU))
        if not metric.conditions(CPU):
            raise Fault("its conditions are empty", "return the unit and what the number depends on")
    elif isinstance(metric, FeatureMetric):
        _ = subject.fresh
    else:
        raise Fault("it is neither a FeatureMetric nor a GeneratorMetric", "inherit from one of the two")


def reference_itself_has_the_best_value(subject: MetricSubject) -> None:
    """Real images measured against themselves have the best value, up to chance."""
    if subject.reference is None:
        raise NotApplicable("it compares with no reference")
    itself = subject.value(subject.draw(0))
    gaps = [subject.worse(itself, other) for other in subject.response]
    if max(gaps) <= SLACK * subject.scale:
        return
    if min(gaps) >= -SLACK * subject.scale:
        raise Doubt(
            f"the reference against itself has {itself:.4g}, the worst value of all that were tried",
            "that is right for a measure of copying; of a distance, look at direction",
        )
    raise Fault(
        f"the reference against itself has {itself:.4g}, and others {min(subject.response):.4g} to "
        f"{max(subject.response):.4g}, with {subject.metric.direction!r} as better",
        "look at direction, and at the order of generated and reference in value",
    )


def corruption_makes_it_worse(subject: MetricSubject) -> None:
    """The further generated images are corrupted, the worse the value is."""
    values = subject.response
    steps = [subject.worse(b, a) for a, b in itertools.pairwise(values)]
    told = ", ".join(f"{value:.4g}" for value in values)
    if subject.scale < 1e-9 * max(1.0, *map(abs, values)):
        raise Fault(
            f"it has the same value, {values[0]:.4g}, however far its features are corrupted",
            "compute it from the statistics that it is given",
        )
    if all(step >= -SLACK * subject.scale for step in steps):
        return
    if all(step <= SLACK * subject.scale for step in steps):
        raise Doubt(
            f"as features are corrupted more and more its value goes {told}, which is better and better",
            f"look at direction, now {subject.metric.direction!r}; of a measure of copying it is right",
        )
    raise Fault(
        f"as features are corrupted more and more its value goes {told}, up and down",
        "look for a sign or a root in it, and for terms that cancel",
    )


def order_of_images_does_not_matter(subject: MetricSubject) -> None:
    """The same images in another order have the same value, up to what random subsets of them change."""
    features, random = subject.draw(1), torch.Generator().manual_seed(2)
    orders = (torch.randperm(len(features), generator=random) for _ in range(3))
    values = [subject.fresh, *(subject.value(features[order]) for order in orders)]
    chance = max(values) - min(values)
    # Sorted images show what depends on an image's place, and by chance differ no more than others.
    centred = features - features.mean(0)
    for order in (centred.norm(dim=1).argsort(), centred.sum(1).argsort()):
        values += [subject.value(features[order]), subject.value(features[order.flip(0)])]
    spread, rounding = max(values) - min(values), 1e-6 * max(map(abs, values)) + 1e-9
    if chance > SLACK * subject.scale + rounding or spread > ORDERED * chance + rounding:
        raise Fault(
            f"the same images in other orders have from {min(values):.6g} to {max(values):.6g}",
            "weight no image by its place, and pair none with the reference's of the same place",
        )


def size_of_batches_does_not_matter(subject: MetricSubject) -> None:
    """The same images, taken in a few at a time, have the same value but for rounding."""
    before, after = subject.fresh, subject.value(subject.draw(1), batch=100)
    if abs(before - after) > 1e-6 * max(subject.scale, abs(before)):
        raise Fault(
            f"taken in 100 at a time its features have {after:.9g}, and all at once {before:.9g}",
            "let its accumulator add up sums, or keep rows at the place of their image",
        )


def value_is_the_same_each_time(subject: MetricSubject) -> None:
    """The same images have the same value each time, and of the metric made anew."""
    anew = MetricSubject(subject.name, subject.overrides).value(subject.draw(1))
    if anew != subject.fresh:
        raise Fault(
            f"the same images have {subject.fresh:.9g} and then {anew:.9g}",
            "seed what it draws, by a parameter of the metric",
        )


GATES: tuple[Check, ...] = (gives_a_finite_number,)
CHECKS: tuple[Check, ...] = (
    reference_itself_has_the_best_value,
    corruption_makes_it_worse,
    order_of_images_does_not_matter,
    size_of_batches_does_not_matter,
    value_is_the_same_each_time,
)
