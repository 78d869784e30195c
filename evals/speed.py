"""The speed of a generator on the present device: latency and throughput."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.plugin import GeneratorMetric, device_name


@dataclass(frozen=True)
class Speed(GeneratorMetric):
    """Base of the metrics that time calls of the generator, with noise and all network evaluations."""

    batch: int = 1
    """Number of images made in one call."""
    seconds: float = 1.0
    """Least duration of the measurement; its result is the median of at least 5 calls."""

    def median(self, generate: Callable[[int], object], device: torch.device) -> float:
        """Return the median seconds of one call, after a first one that does not count."""
        seconds: list[float] = []
        self._call(generate, device)
        while len(seconds) < 5 or sum(seconds) < self.seconds:
            seconds.append(self._call(generate, device))
        return statistics.median(seconds)

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
