"""What can be measured: of the features of generated images, or of the generator itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.plugin.accumulators import Accumulator, Gather, Statistics


class Metric(ABC):
    """A number, which way of it is better, and in which unit it is. See ``FeatureMetric`` and ``GeneratorMetric``.

    A metric is made without arguments, or with the parameters that a protocol gives it: let it be a frozen dataclass.
    """

    name: ClassVar[str] = ""
    """Under which it is registered, set by the registry."""
    REQUIRED: ClassVar[tuple[str, ...]] = ("direction",)

    direction: ClassVar[Literal["lower", "higher"]]
    """Which way is better."""
    unit: ClassVar[str] = ""
    """Empty for a pure number."""


class FeatureMetric(Metric):
    """A function of statistics of generated images' features and, where it reference_statistics, of real images' features."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("direction", "feature", "statistics")

    feature: ClassVar[str]
    """The feature it is computed from."""
    statistics: ClassVar[Gather]
    """What is kept of the generated images: a kind of Accumulator, made for a number of images. Metrics share equal ones."""
    reference_statistics: ClassVar[type[Accumulator] | None] = None
    """What it needs of real images; None if it needs none."""
    fewest: ClassVar[int] = 2
    """Fewest images, generated or real, that it can be computed from."""

    def prepare(self, reference: Statistics) -> Statistics:
        """What of the real images' statistics is worth computing once for many values."""
        return reference

    @abstractmethod
    def value(self, generated: Statistics, reference: Statistics | None) -> float:
        """The metric, from both sides' statistics; ``reference`` is None unless it ``compares``, and prepared.

        Raises BenchError rather than give a number that means nothing.
        """

    def by_others(self, features: Tensor, reference: Statistics | None) -> Mapping[str, float]:
        """The same number by other libraries, by their names, from the generated images' features (N, d)."""
        return {}


class GeneratorMetric(Metric):
    """A property of the generator: its speed, say."""

    @abstractmethod
    def measure(self, generate: Callable[[int], object], device: torch.device) -> float:
        """The metric; ``generate(n)`` makes n images on the device. Its work may lag behind the call on a GPU."""

    @abstractmethod
    def conditions(self, device: torch.device) -> str:
        """The unit, and under which conditions the number holds, in place of a protocol's id."""
