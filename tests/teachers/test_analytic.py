"""The analytic teachers' denoisers against numerical posterior means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plugin import open_dataset
from teachers.analytic import Gaussian, GMMRing, RingDenoiser


@settings(max_examples=25)
@given(sigma=st.floats(0.02, 20), angle=st.floats(0, 6.28), distance=st.floats(0, 2))
def test_the_ring_denoiser_is_the_posterior_mean(sigma, angle, distance):
    """Against a two-dimensional quadrature of E[x | y] over the plane."""
    s = 0.2
    denoiser = RingDenoiser(0.7, s).double()
    y = torch.tensor([distance * math.cos(angle), distance * math.sin(angle)], dtype=torch.float64)
    grid = np.linspace(-2, 2, 161)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    centres = denoiser.centres.numpy()
    log_prior = np.logaddexp.reduce(-((points[:, None] - centres) ** 2).sum(-1) / (2 * s**2), axis=1)
    log_posterior = log_prior - ((points - y.numpy()) ** 2).sum(-1) / (2 * max(sigma, 0.1) ** 2)
    weights = np.exp(log_posterior - log_posterior.max())
    expected = (weights[:, None] * points).sum(0) / weights.sum()
    found = denoiser(y.reshape(1, 2, 1, 1), max(sigma, 0.1)).flatten()
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("teacher", [Gaussian, GMMRing])
def test_a_trainable_copy_starts_as_the_denoiser_and_shares_nothing_with_it(teacher):
    made = teacher()
    network = made.trainable_copy()
    x = torch.randn(16, *made.image_spec.shape)
    torch.testing.assert_close(network(x, 0.5), made.denoiser(x, 0.5), rtol=0, atol=0)
    assert all(p.requires_grad for p in network.parameters())
    before = made.digest()
    with torch.no_grad():
        for p in network.parameters():
            p += 1
    assert made.digest() == before


@pytest.mark.parametrize("teacher", [Gaussian, GMMRing])
def test_the_sampler_draws_from_the_data_set(teacher):
    made = teacher()
    drawn = made.sample(
        torch.randn(4000, *made.image_spec.shape, generator=torch.Generator().manual_seed(0))
    ).flatten(1)
    real = (
        torch.cat([images for images, _ in open_dataset(made.dataset).batches(5000)]).float().flatten(1)
        / 127.5
        - 1
    )
    torch.testing.assert_close(drawn.mean(0), real.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(real.T), rtol=0, atol=0.015)


def test_sampling_the_ring_finds_all_modes_equally():
    teacher = GMMRing()
    points = teacher.sample(
        torch.randn(4000, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    ).flatten(1)
    nearest = torch.cdist(points, teacher.denoiser.centres).argmin(1)
    assert torch.bincount(nearest, minlength=8).min() > 4000 / 8 * 0.8
