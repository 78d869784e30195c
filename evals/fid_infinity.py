"""FID without its bias from a finite number of generated images."""

from dataclasses import dataclass

import numpy as np
import torch

from bench.plugin import BenchError, FeatureBank, FeatureMetric, Moments, Statistics
from evals.fid import FID


@dataclass(frozen=True)
class FIDInfinity(FID):
    """FID extrapolated to infinitely many images (Chong and Forsyth 2020, 1911.07023); lower is better.

    FID exceeds its limit by nearly a constant over N. It is measured on ``sizes`` random subsets,
    whose sizes are evenly spaced from a tenth of the images (at least 5,000, or half of fewer than
    10,000) to all, as in dgm-eval. The number is the value at 1/N = 0 of a line fitted against 1/N.
    The bias from a finite reference remains.
    """

    sizes: int = 15
    seed: int = 0

    statistics = FeatureBank
    fewest = 30
    by_others = FeatureMetric.by_others

    def value(self, generated: Statistics, reference: Statistics) -> float:
        features = generated["features"]
        n, d = features.shape
        fewest = max(n // 10, min(5000, n // 2))
        if fewest <= d:
            raise BenchError(
                f"fid-infinity fits FIDs of {fewest:,} to {n:,} images, and needs more than {d:,} "
                "images at the fewest, the dimensions of their features; raise --eval-samples "
                f"above {2 * d:,}."
            )
        counts = np.linspace(fewest, n, self.sizes).astype(int)
        draw = np.random.RandomState(self.seed)
        values = []
        for count in counts:
            moments = Moments(int(count))
            moments.update(
                features[torch.from_numpy(draw.choice(n, count, replace=False)).to(features.device)], 0
            )
            values.append(super().value(moments.statistics(), reference))
        return float(np.polyfit(1 / counts, values, 1)[1])
