"""The contracts of a metric: of the features of generated images, or of the generator itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.plugin.accumulators import Accumulator, Gather, Statistics


class Metric(ABC):
    """A number that measures a generator; see ``FeatureMetric`` and ``GeneratorMetric``.

    A metric is made without arguments, or with the parameters that a protocol sets: write it as a
    frozen dataclass.
    """

    name: ClassVar[str] = ""
    """The name under which it is registered, set by the registry."""
    REQUIRED: ClassVar[tuple[str, ...]] = ("direction",)

    direction: ClassVar[Literal["lower", "higher"]]
    """Whether a lower or a higher number is better."""
    unit: ClassVar[str] = ""
    """Unit of the number; empty for a pure number."""


class FeatureMetric(Metric):
    """A function of statistics of the features of generated images.

    With ``reference_statistics`` it also depends on the features of real images.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ("direction", "feature", "statistics")

    feature: ClassVar[str]
    """Name of the feature that it is computed from."""
    statistics: ClassVar[Gather]
    """The accumulator of the generated images' features, called with the number of images; metrics
    share equal ones."""
    reference_statistics: ClassVar[type[Accumulator] | None] = None
    """The accumulator of the real images' features; None for a metric that does not compare."""
    fewest: ClassVar[int] = 2
    """Fewest images that it can be computed from, generated or real."""

    def prepare(self, reference: Statistics) -> Statistics:
        """Compute once what many calls of ``value`` need, and return it with the statistics."""
        return reference

    @abstractmethod
    def value(self, generated: Statistics, reference: Any) -> float:
        """Compute the metric.

        Args:
            generated: statistics of the generated images.
            reference: prepared ``Statistics`` of the real images; None without
                ``reference_statistics``.

        Raises BenchError rather than return a number that means nothing.
        """

    def by_others(self, features: Tensor, reference: Any) -> Mapping[str, float]:
        """Return the number by other libraries, by their names, from features (N, d), for a cross-check."""
        return {}


class GeneratorMetric(Metric):
    """A property of the generator itself, such as its speed."""

    @abstractmethod
    def measure(self, generate: Callable[[int], object], device: torch.device) -> float:
        """Compute the metric; ``generate(n)`` makes n images on the device.

        On a GPU the call may return before its work is done.
        """

    @abstractmethod
    def conditions(self, device: torch.device) -> str:
        """Return the unit and the conditions of the number, which stand in place of a protocol's id."""
