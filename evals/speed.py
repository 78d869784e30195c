"""How fast a generator makes images, where it runs now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.plugin import GeneratorMetric, device_name


@dataclass(frozen=True)
class Speed(GeneratorMetric):
    """Times calls of the generator, noise and all evaluations included, after a first one that does not count."""

    batch: int = 1
    """Images made at once."""
    seconds: float = 1.0
    """Least duration; the median of the calls made in it, at least 5, is what counts."""

    def median(self, generate: Callable[[int], object], device: torch.device) -> float:
        """Seconds of one call."""
        taken: list[float] = []
        self._call(generate, device)
        while len(taken) < 5 or sum(taken) < self.seconds:
            taken.append(self._call(generate, device))
        return statistics.median(taken)

    def _call(self, generate: Callable[[int], object], device: torch.device) -> float:
        started = time.perf_counter()
        generate(self.batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    def conditions(self, device: torch.device) -> str:
        return f"{self.unit}, batch {self.batch}, {device_name(device)}"


@dataclass(frozen=True)
class Latency(Speed):
    """Time to make one image, in milliseconds; lower is better."""

    direction = "lower"
    unit = "ms"

    def measure(self, generate: Callable[[int], object], device: torch.device) -> float:
        return 1000 * self.median(generate, device)


@dataclass(frozen=True)
class Throughput(Speed):
    """Images made in a second, many at once; higher is better."""

    batch: int = 64

    direction = "higher"
    unit = "images/s"

    def measure(self, generate: Callable[[int], object], device: torch.device) -> float:
        return self.batch / self.median(generate, device)
