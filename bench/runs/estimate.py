"""Estimates of a run and of a grid of runs, as numbers."""

from dataclasses import dataclass

from bench.runs.budget import Budget
from bench.runs.recipe import Recipe


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
