"""The analytic teachers' denoisers against numerical posterior means, and Heun's sampler against its closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.diffusion import NoiseLevels, heun, heun_levels
from bench.plugin import open_dataset
from teachers.analytic import Gaussian, GaussianDenoiser, GMMRing, RingDenoiser

NODES_18 = [80, 57.586, 40.786, 28.375, 19.352, 12.910, 8.4009, 5.3152, 3.2568, 1.9233, 1.0882, 0.58535, 0.29644]
NODES_18 += [0.13952, 0.05995, 0.02293, 0.00753, 0.002, 0]


def test_heun_levels_are_edms():
    assert heun_levels(18, NoiseLevels()) == pytest.approx(NODES_18, rel=5e-4)
    assert heun_levels(1, NoiseLevels()) == pytest.approx([80, 0])


@pytest.mark.parametrize(("steps", "factor"), [(18, 1.010156), (40, 0.997473), (256, 0.994801)])
def test_heun_on_gaussian_data_multiplies_the_step_factors(steps, factor):
    """From y = 40 for data N(0.7, 0.6^2): stored values, and the product of the step factors."""
    mu, s = 0.7, 0.6
    denoiser = GaussianDenoiser(mu, s).double()
    y = heun(denoiser, torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), steps, NoiseLevels()).item()
    levels, product = heun_levels(steps, NoiseLevels()), 1.0
    for a, b in itertools.pairwise(levels):
        euler = 1 + (b - a) * a / (s**2 + a**2)
        product *= euler if b == 0 else 1 + 0.5 * (b - a) * (a / (s**2 + a**2) + euler * b / (s**2 + b**2))
    assert y == pytest.approx(mu + (40 - mu) * product, abs=1e-6)  # the denoiser was made in float32
    assert y == pytest.approx(factor, abs=1e-6)


def test_heun_converges_to_the_exact_flow_at_second_order():
    mu, s = 0.7, 0.6
    exact = mu + (40 - mu) * s / math.sqrt(s**2 + 80**2)
    z = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    errors = [abs(heun(GaussianDenoiser(mu, s).double(), z, n, NoiseLevels()).item() - exact) for n in (64, 128, 256)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


@settings(max_examples=25, deadline=None)
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
    x = torch.randn(16, *made.images.shape)
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
    drawn = made.sample(torch.randn(4000, *made.images.shape, generator=torch.Generator().manual_seed(0))).flatten(1)
    real = torch.cat([images for images, _ in open_dataset(made.dataset).batches(5000)]).float().flatten(1) / 127.5 - 1
    torch.testing.assert_close(drawn.mean(0), real.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(real.T), rtol=0, atol=0.015)


def test_sampling_the_ring_finds_all_modes_equally():
    teacher = GMMRing()
    points = teacher.sample(torch.randn(4000, 2, 1, 1, generator=torch.Generator().manual_seed(0))).flatten(1)
    nearest = torch.cdist(points, teacher.denoiser.centres).argmin(1)
    assert torch.bincount(nearest, minlength=8).min() > 4000 / 8 * 0.8
