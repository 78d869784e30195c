"""FID extrapolated to infinitely many images."""

from __future__ import annotations

import pytest
import torch

from bench.errors import BenchError
from bench.plugin import FeatureBank, Moments
from evals.fid import FID
from evals.fid_infinity import FIDInfinity


def gathered(kind, features):
    accumulator = kind(len(features))
    accumulator.update(features, 0)
    return accumulator.statistics()


def test_it_takes_away_the_bias_of_a_finite_number():
    """Standard normals against the exact moments of their distribution: the limit is 0, and FID is
    about c / N.
    """
    d, generator = 16, torch.Generator().manual_seed(0)
    exact = {"mu": torch.zeros(d, dtype=torch.float64), "sigma": torch.eye(d, dtype=torch.float64)}
    exact = FID().prepare(exact)
    plain, limit = [], []
    for _ in range(8):
        x = torch.randn(2000, d, generator=generator)
        plain.append(FID().value(gathered(Moments, x), exact))
        limit.append(FIDInfinity().value(gathered(FeatureBank, x), exact))
    plain, limit = torch.tensor(plain), torch.tensor(limit)
    assert plain.min() > 0.02
    assert abs(limit.mean()) < 3 * limit.std() / 8**0.5 + 0.1 * plain.mean()


def test_a_shift_stays():
    d, x = 4, torch.randn(4000, 4, generator=torch.Generator().manual_seed(1)) + 1.0
    exact = {"mu": torch.zeros(d, dtype=torch.float64), "sigma": torch.eye(d, dtype=torch.float64)}
    assert FIDInfinity().value(gathered(FeatureBank, x), FID().prepare(exact)) == pytest.approx(
        d, rel=0.05
    )


def test_too_few_images_are_one_sentence():
    exact = {"mu": torch.zeros(64, dtype=torch.float64), "sigma": torch.eye(64, dtype=torch.float64)}
    with pytest.raises(BenchError, match=r"needs more than 64 images at the fewest.*above 128"):
        FIDInfinity().value(gathered(FeatureBank, torch.randn(100, 64)), exact)
