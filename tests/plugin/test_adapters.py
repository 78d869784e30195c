"""Adapted networks against the exact denoiser of Gaussian pixels, whose noise, v and velocity have
closed forms.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.plugin.adapters import FlowDenoiser, VPDenoiser
from bench.plugin.diffusion import NoiseLevels
from bench.plugin.sampler import Sampler

MU, S = 0.3, 0.4
PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def linear_alphas():
    """DDPM's schedule: 1000 betas from 1e-4 to 0.02."""
    return (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)


def cosine_alphas():
    """iDDPM's schedule, whose betas end at 0.999."""
    f = torch.cos((torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - (1 - f[1:] / f[:-1]).clamp(max=0.999)).cumprod(0)


class ExactVP(torch.nn.Module):
    """The best prediction for pixels N(mu, s^2) of ``x_t = a x0 + b eps``; between the indices ln(a
    / b) is linear.
    """

    def __init__(self, alphas, prediction):
        super().__init__()
        self.mu = torch.nn.Parameter(torch.tensor(MU, dtype=torch.float64))
        self.log_snr, self.prediction = (alphas / (1 - alphas)).log().numpy(), prediction

    def forward(self, x_t, t, labels):
        log_snr = torch.tensor(np.interp(t.double().numpy(), np.arange(len(self.log_snr)), self.log_snr))
        a, b = (
            f.sqrt().to(x_t.dtype)[:, None, None, None]
            for f in (log_snr.sigmoid(), (-log_snr).sigmoid())
        )
        mu = self.mu.to(x_t.dtype)
        x0 = mu + a * S**2 / (a**2 * S**2 + b**2) * (x_t - a * mu)
        eps = b / (a**2 * S**2 + b**2) * (x_t - a * mu)
        return {"sample": x0, "epsilon": eps, "v_prediction": a * eps - b * x0}[self.prediction]


class ExactFlow(torch.nn.Module):
    """The mean of ``n - x0`` for pixels N(mu, s^2) given ``x_t = (1 - t) x0 + t n``, at the time
    ``t * scale``.
    """

    def __init__(self, scale):
        super().__init__()
        self.mu, self.scale = torch.nn.Parameter(torch.tensor(MU, dtype=torch.float64)), scale

    def forward(self, x_t, t, labels):
        t = (t / self.scale)[:, None, None, None]
        mu = self.mu.to(x_t.dtype)
        return -mu + (t - (1 - t) * S**2) / ((1 - t) ** 2 * S**2 + t**2) * (x_t - (1 - t) * mu)


def exact(y, sigma):
    """E[x0 | y] of pixels N(mu, s^2) and y = x0 + sigma n."""
    s2 = sigma.reshape(-1, 1, 1, 1) ** 2
    return (S**2 * y + s2 * MU) / (S**2 + s2)


def adapters():
    vp = [VPDenoiser(ExactVP(linear_alphas(), p), linear_alphas(), p) for p in PREDICTIONS]
    return [*vp, FlowDenoiser(ExactFlow(1)), FlowDenoiser(ExactFlow(1000), time_scale=1000)]


IDS = [*PREDICTIONS, "flow", "flow-1000"]


def noisy(sigma, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x0, n = torch.randn(2, len(sigma), 2, 3, 3, generator=generator, dtype=torch.float64)
    return (MU + S * x0 + sigma.reshape(-1, 1, 1, 1) * n).to(dtype)


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("alphas", [linear_alphas(), cosine_alphas()], ids=["linear", "cosine"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_at_every_level_of_the_schedule_the_denoiser_is_exact(prediction, alphas, dtype, precision):
    """The noise is subtracted from y, so that in units of the pixels the error of a noise
    prediction grows with sigma.
    """
    sigma = ((1 - alphas) / alphas).sqrt()
    sigma = sigma[sigma <= 160]
    y = noisy(sigma, dtype)
    found = VPDenoiser(ExactVP(alphas, prediction), alphas, prediction)(y, sigma.to(dtype))
    assert found.dtype == dtype
    size = sigma.clamp(min=1).reshape(-1, 1, 1, 1)
    assert ((found.double() - exact(y.double(), sigma)).abs() / size).max() < precision


@settings(max_examples=60)
@given(log_sigma=st.floats(math.log(0.0101), math.log(157)))
def test_between_the_levels_the_denoiser_is_exact_too(log_sigma):
    sigma = torch.tensor([math.exp(log_sigma)], dtype=torch.float64)
    y = noisy(sigma)
    for denoiser in adapters()[:3]:
        torch.testing.assert_close(denoiser(y, sigma), exact(y, sigma), rtol=0, atol=1e-9)


@settings(max_examples=60)
@given(log_sigma=st.floats(math.log(1e-4), math.log(1e4)))
def test_a_flow_is_exact_at_any_level(log_sigma):
    sigma = torch.tensor([math.exp(log_sigma)], dtype=torch.float64)
    y = noisy(sigma)
    for denoiser in adapters()[3:]:
        torch.testing.assert_close(denoiser(y, sigma), exact(y, sigma), rtol=0, atol=1e-10)
        single = denoiser(y.float(), sigma.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), exact(y, sigma), rtol=0, atol=1e-5)


def test_the_time_is_the_index_linear_in_the_logarithm_and_held_at_the_ends():
    alphas = linear_alphas()
    denoiser = VPDenoiser(torch.nn.Identity(), alphas)
    sigma = ((1 - alphas) / alphas).sqrt()
    torch.testing.assert_close(
        denoiser.time(sigma), torch.arange(1000.0, dtype=torch.float64), rtol=0, atol=1e-9
    )
    between = (sigma[:-1] ** 0.75) * (sigma[1:] ** 0.25)
    torch.testing.assert_close(
        denoiser.time(between), torch.arange(999.0, dtype=torch.float64) + 0.25, rtol=0, atol=1e-6
    )
    assert denoiser.time(torch.tensor([0, 1e-6, 1e6])).tolist() == [0, 0, 999]


def test_the_range_of_noise_levels_is_the_schedules_up_to_160():
    """0.01 to 157.4 for DDPM; a cosine ends at the last level below 160, though its table goes to
    2e4; a flow has EDM's.
    """
    ddpm = VPDenoiser(torch.nn.Identity(), linear_alphas()).noise
    assert (ddpm.sigma_min, ddpm.sigma_max) == (
        pytest.approx(0.0100005, rel=1e-5),
        pytest.approx(157.4, rel=1e-3),
    )
    sigmas = ((1 - cosine_alphas()) / cosine_alphas()).sqrt()
    cosine = VPDenoiser(torch.nn.Identity(), cosine_alphas()).noise
    assert sigmas[-1] > 1e4
    assert cosine.sigma_max == pytest.approx(sigmas[sigmas < 160].max().item())
    finest = VPDenoiser(torch.nn.Identity(), torch.tensor([1 - 1e-8, 0.5], dtype=torch.float64)).noise
    assert (finest.sigma_min, finest.sigma_max) == (0.002, pytest.approx(1))
    assert FlowDenoiser(torch.nn.Identity()).noise == NoiseLevels()


def test_levels_without_image_or_without_noise_are_left_out_of_the_table():
    """Zero terminal SNR has an infinite sigma at its end; the highest finite level keeps its index."""
    alphas = torch.tensor([1.0, 0.9, 0.5, 0.1, 0.0], dtype=torch.float64)
    denoiser = VPDenoiser(torch.nn.Identity(), alphas)
    assert denoiser.noise.sigma_max == pytest.approx(3)
    assert denoiser.time(
        torch.tensor([1e-3, 1.0, 3.0, 1e3], dtype=torch.float64)
    ).tolist() == pytest.approx([1, 2, 3, 3])


@pytest.mark.parametrize(
    "alphas", [[0.5], [0.5, 0.9], [0.5, 0.5], [1.0, 0.0], [0.9, float("nan"), 0.5], [0.9, 0.5, -0.1]]
)
def test_a_schedule_that_does_not_fall_is_refused(alphas):
    with pytest.raises(UsageError, match="do not fall from 1 towards 0"):
        VPDenoiser(torch.nn.Identity(), torch.tensor(alphas))


def test_an_unknown_prediction_is_refused():
    with pytest.raises(
        UsageError, match="'noise' is not known; expected one of epsilon, v_prediction, sample"
    ):
        VPDenoiser(torch.nn.Identity(), linear_alphas(), "noise")


@pytest.mark.parametrize("denoiser", adapters(), ids=IDS)
def test_a_batch_of_levels_is_each_alone_and_a_number_is_a_level_for_all(denoiser):
    sigma = torch.tensor([0.02, 0.5, 3.0, 70.0], dtype=torch.float64)
    y = noisy(sigma)
    together = denoiser(y, sigma)
    alone = torch.cat([denoiser(y[i : i + 1], sigma[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(denoiser(y, 0.5), denoiser(y, torch.full((4,), 0.5)), rtol=0, atol=0)


@pytest.mark.parametrize("denoiser", adapters(), ids=IDS)
def test_the_gradient_flows_through_the_images(denoiser):
    """Against finite differences, and the known slope s^2 / (s^2 + sigma^2)."""
    sigma = torch.tensor([0.02, 0.5, 3.0], dtype=torch.float64)
    y = noisy(sigma)[:, :1, :1, :2].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda y: denoiser(y, sigma), y, fast_mode=False)
    (slope,) = torch.autograd.grad(denoiser(y, sigma).sum(), y)
    expected = (S**2 / (S**2 + sigma**2)).reshape(-1, 1, 1, 1).expand_as(slope)
    torch.testing.assert_close(slope, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "adapt", [lambda n: VPDenoiser(n, linear_alphas()), FlowDenoiser], ids=["vp", "flow"]
)
def test_nothing_is_read_back_from_the_device(adapt):
    """The meta device has no values, so that reading one would fail."""

    class First(torch.nn.Module):
        def forward(self, x_t, t, labels):
            return x_t * t[:, None, None, None]

    denoiser = adapt(First()).to("meta")
    x, sigma = torch.empty(2, 1, 4, 4, device="meta"), torch.empty(2, device="meta")
    assert denoiser(x, sigma).shape == denoiser(x, 0.5).shape == x.shape


@pytest.mark.parametrize("denoiser", adapters(), ids=IDS)
def test_a_copy_trains_and_leaves_the_original_alone(denoiser):
    """Only the network's own weights are in the state, under its own names."""
    sigma = torch.tensor([0.5, 3.0], dtype=torch.float64)
    y = noisy(sigma)
    clone = copy.deepcopy(denoiser)
    assert list(clone.state_dict()) == ["model.mu"]
    clone(y, sigma).square().sum().backward()
    assert clone.model.mu.grad.abs() > 0
    assert denoiser.model.mu.grad is None
    with torch.no_grad():
        clone.model.mu += 1
    torch.testing.assert_close(denoiser(y, sigma), exact(y, sigma), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "adapt", [lambda n: VPDenoiser(n, linear_alphas()), FlowDenoiser], ids=["vp", "flow"]
)
def test_of_a_network_that_predicts_its_variance_only_the_prediction_is_used(adapt):
    class Constant(torch.nn.Module):
        def __init__(self, values):
            super().__init__()
            self.values = values

        def forward(self, x_t, t, labels):
            return torch.cat([torch.full_like(x_t, v) for v in self.values], dim=1)

    y = noisy(torch.tensor([0.5, 3.0], dtype=torch.float64))
    torch.testing.assert_close(
        adapt(Constant([0.7, 99.0]))(y, 0.5), adapt(Constant([0.7]))(y, 0.5), rtol=0, atol=0
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_that_computes_in_fewer_bits_is_combined_in_the_type_of_the_images(prediction):
    class Half(torch.nn.Module):
        def forward(self, x_t, t, labels):
            return x_t.bfloat16()

    assert (
        VPDenoiser(Half(), linear_alphas(), prediction)(torch.ones(2, 1, 2, 2), 1.0).dtype
        == torch.float32
    )


def test_the_labels_reach_the_network_and_augmentation_labels_do_not():
    seen = {}

    class Spy(torch.nn.Module):
        def forward(self, x_t, t, labels):
            seen.update(t=t, labels=labels)
            return x_t

    y, labels = torch.zeros(2, 1, 2, 2), torch.eye(2)
    for denoiser in (VPDenoiser(Spy(), linear_alphas()), FlowDenoiser(Spy(), time_scale=1000)):
        denoiser(y, 1.0, labels, augment_labels=torch.ones(2, 9))
        assert seen["labels"] is labels
        assert seen["t"].shape == (2,)
    assert seen["t"].tolist() == [500, 500]  # sigma 1 is half way of a flow


@pytest.mark.parametrize("denoiser", adapters(), ids=IDS)
def test_heuns_sampler_carries_noise_to_the_data(denoiser):
    """A unit of noise ends a deviation from the mean: x = mu + (sigma_max z - mu) s / sqrt(s^2 +
    sigma_max^2).
    """
    top = denoiser.noise.sigma_max
    z = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(2, 1, 2, 2)
    flow = MU + (top * z - MU) * S / math.sqrt(S**2 + top**2)
    torch.testing.assert_close(Sampler(steps=128)(denoiser, z, denoiser.noise), flow, rtol=0, atol=0.01)
