"""Samplers against closed forms on Gaussian data, where every step is a multiplication, and their
noise by seed.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from bench.evaluation.sampling import generate_images
from bench.plugin import ImageSpec
from bench.plugin.diffusion import NoiseLevels
from bench.plugin.sampler import Sampler, few_steps
from teachers.analytic import GaussianDenoiser

NODES_18 = [
    80,
    57.586,
    40.786,
    28.375,
    19.352,
    12.910,
    8.4009,
    5.3152,
    3.2568,
    1.9233,
    1.0882,
    0.58535,
    0.29644,
]
NODES_18 += [0.13952, 0.05995, 0.02293, 0.00753, 0.002, 0]


def test_heun_levels_are_edms():
    assert Sampler(18).levels(NoiseLevels()) == pytest.approx(NODES_18, rel=5e-4)
    assert Sampler(1).levels(NoiseLevels()) == pytest.approx([80, 0])


@pytest.mark.parametrize(("steps", "factor"), [(18, 1.010156), (40, 0.997473), (256, 0.994801)])
def test_heun_on_gaussian_data_multiplies_the_step_factors(steps, factor):
    """From y = 40 for data N(0.7, 0.6^2): stored values, and the product of the step factors."""
    mu, s = 0.7, 0.6
    denoiser = GaussianDenoiser(mu, s).double()
    y = Sampler(steps)(
        denoiser, torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), NoiseLevels()
    ).item()
    levels, product = Sampler(steps).levels(NoiseLevels()), 1.0
    for a, b in itertools.pairwise(levels):
        euler = 1 + (b - a) * a / (s**2 + a**2)
        product *= (
            euler if b == 0 else 1 + 0.5 * (b - a) * (a / (s**2 + a**2) + euler * b / (s**2 + b**2))
        )
    assert y == pytest.approx(mu + (40 - mu) * product, abs=1e-6)  # the denoiser was made in float32
    assert y == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize(("solver", "order"), [("heun", 2), ("euler", 1)])
def test_a_solver_converges_to_the_exact_flow_at_its_order(solver, order):
    mu, s = 0.7, 0.6
    exact = mu + (40 - mu) * s / math.sqrt(s**2 + 80**2)
    z = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    errors = [
        abs(Sampler(n, solver)(GaussianDenoiser(mu, s).double(), z, NoiseLevels()).item() - exact)
        for n in (64, 128, 256)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(2**order, rel=0.3)


@pytest.mark.parametrize("sampler", [Sampler(1), Sampler(5), Sampler(5, "euler"), Sampler(4, churn=40)])
def test_nfe_is_the_number_of_calls(sampler):
    calls = []

    def denoiser(x, sigma, labels=None):
        calls.append(sigma)
        return torch.zeros_like(x)

    sampler(denoiser, torch.randn(2, 1, 2, 2), NoiseLevels())
    assert len(calls) == sampler.nfe


def test_churning_keeps_the_law_of_the_images():
    """On Gaussian data the stochastic sampler gives the data's mean and deviation, as the
    deterministic one does.
    """
    mu, s, z = 0.1, 0.2, torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    images = Sampler(200, churn=40, churn_min=0.05, churn_max=50)(
        GaussianDenoiser(mu, s), z, NoiseLevels()
    )
    plain = Sampler(40)(GaussianDenoiser(mu, s), z, NoiseLevels())
    assert images.mean().item() == pytest.approx(mu, abs=5 * s / math.sqrt(20_000))
    assert images.std().item() == pytest.approx(s, rel=0.03)
    assert (
        abs(torch.corrcoef(torch.stack([images.flatten(), plain.flatten()]))[0, 1]) < 0.9
    )  # and it did churn


def test_churn_reaches_only_the_levels_it_is_meant_for():
    noise = []
    sampler = Sampler(6, churn=100, churn_min=1e3, churn_max=1e4)
    z = torch.randn(3, 1, 2, 2)
    plain = Sampler(6)(GaussianDenoiser(0.1, 0.2), z, NoiseLevels())
    same = sampler(
        GaussianDenoiser(0.1, 0.2), z, NoiseLevels(), draw=lambda: noise.append(1) or torch.randn_like(z)
    )
    torch.testing.assert_close(same, plain)
    assert (
        len(noise) == 6
    )  # drawn at every step all the same, so that streams do not depend on the levels


def test_one_step_is_one_call_and_further_levels_renoise_and_denoise_again():
    denoiser, z = GaussianDenoiser(0.1, 0.2), torch.randn(4, 1, 2, 2)
    torch.testing.assert_close(few_steps(denoiser, z, [2.5]), denoiser(2.5 * z, 2.5))
    fresh = torch.randn_like(z)
    expected = denoiser(denoiser(80 * z, 80.0) + 0.8 * fresh, 0.8)
    torch.testing.assert_close(few_steps(denoiser, z, [80, 0.8], draw=lambda: fresh), expected)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_stochastic_generators_image_depends_on_its_seed_alone(classes):
    """Whatever the batch, its order, and the state of torch's own generator, which is left as it was."""
    images, device = ImageSpec(1, 4, classes), torch.device("cpu")
    denoiser, sampler = GaussianDenoiser(0.1, 0.2), Sampler(4, churn=40)

    def generate(z, labels, draw):
        return sampler(denoiser, z, NoiseLevels(), labels, draw)

    torch.manual_seed(0)
    together = generate_images(generate, range(10, 17), images, device)
    state = torch.get_rng_state()
    one_by_one = torch.cat(
        [generate_images(generate, range(i, i + 1), images, device) for i in range(10, 17)]
    )
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=0)
    assert torch.equal(state, torch.get_rng_state())
