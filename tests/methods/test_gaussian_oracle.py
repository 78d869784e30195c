"""Generator gradients against closed forms, where data, generator and both denoisers are Gaussian.

Data N(mu, s^2) and generator x = m + tau z, each pixel alone. With A = sigma^2 / (s^2 + sigma^2)
and B = sigma^2 / (tau^2 + sigma^2) the exact denoisers are D_real = (1 - A) y + A mu and D_fake =
(1 - B) y + B m.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench import registry
from bench.plugin import Batch, ImageSpec, NoiseLevels
from bench.settings import choose_settings
from methods.sid import LOSS_SCALE, sid_loss, sid_weight
from methods.sim import sim_loss
from teachers.analytic import Gaussian, GaussianDenoiser

MU, S, M, TAU = 0.7, 0.6, -0.2, math.sqrt(0.8)
PIXELS = 3 * 32 * 32
IMAGES = 192


class OneLevel(NoiseLevels):
    """A noise law that always gives the same level."""

    level = 0.5

    def karras(self, u):
        return torch.full_like(u, self.level)

    def sample(self, x):
        return torch.full((len(x),), self.level, dtype=x.dtype)


class Affine(nn.Module):
    """The generator x = m + tau z."""

    def __init__(self, init_sigma):
        super().__init__()
        self.m, self.tau = nn.Parameter(torch.tensor(M)), nn.Parameter(torch.tensor(TAU))
        self.init_sigma = init_sigma

    def forward(self, x, sigma, labels=None):
        return self.m + self.tau * x / self.init_sigma


def found_gradient(method: str, level: float, **overrides):
    """The gradient of the mean loss with respect to (m, tau), over IMAGES images of PIXELS pixels."""

    class Teacher(Gaussian):
        image_spec = ImageSpec(3, 32)
        mu, s = MU, S

    teacher = Teacher()
    cls = registry.methods.get(method)
    method_settings = choose_settings(cls, "gaussian", overrides).settings
    instance = cls(method_settings, teacher)
    noise = OneLevel()
    object.__setattr__(noise, "level", level)
    instance.noise = noise
    instance.generator = Affine(method_settings.init_sigma).double()
    instance.fake = GaussianDenoiser(M, TAU).double().requires_grad_(False)
    instance.teacher.double()
    torch.manual_seed(1)
    z = torch.randn(IMAGES, 3, 32, 32, dtype=torch.float64)
    loss = instance.generator_loss(Batch(z)).mean()
    return torch.autograd.grad(loss, [instance.generator.m, instance.generator.tau])


def mean_distance(level: float) -> float:
    """W = E|x - D_real(y)|, the limit of the weight for many pixels: a folded normal's mean."""
    a = level**2 / (S**2 + level**2)
    delta = a * (M - MU)
    kappa = math.sqrt(a**2 * TAU**2 + (1 - a) ** 2 * level**2)
    return kappa * math.sqrt(2 / math.pi) * math.exp(-(delta**2) / (2 * kappa**2)) + delta * math.erf(
        delta / (kappa * math.sqrt(2))
    )


# Gradients with respect to (m, tau) at unit weight, per pixel, for mu=0.7, s^2=0.36, m=-0.2, tau^2=0.8.
SID = {
    (0.1, 0.5): (-0.000657, 0.000517),
    (0.1, 1.0): (-0.000300, 0.000324),
    (0.1, 1.2): (-0.000157, 0.000247),
    (0.5, 0.5): (-0.151169, 0.099529),
    (0.5, 1.0): (-0.087822, 0.073147),
    (0.5, 1.2): (-0.062483, 0.062595),
    (2.0, 0.5): (-0.757512, 0.131691),
    (2.0, 1.0): (-0.688073, 0.125366),
    (2.0, 1.2): (-0.660298, 0.122835),
}
DIFF_INSTRUCT = {0.1: (-0.024324, 0.013131), 0.5: (-0.368852, 0.153610), 2.0: (-0.825688, 0.075219)}
DMD = {0.1: (-0.295431, 0.159487), 0.5: (-0.760132, 0.316559), 2.0: (-0.852281, 0.077642)}


CLOSED_FORMS = [
    *(("sid", {"alpha": alpha}, level, gradient) for (level, alpha), gradient in SID.items()),
    *(
        ("sim", {"distance": "l2"}, level, gradient)
        for (level, alpha), gradient in SID.items()
        if alpha == 1
    ),
    *(("diff-instruct", {}, level, gradient) for level, gradient in DIFF_INSTRUCT.items()),
    *(("dmd", {"regression": 0}, level, gradient) for level, gradient in DMD.items()),
    *(("dmd2", {"gan": 0}, level, gradient) for level, gradient in DMD.items()),
]
"""SiD's are over its weight; implicit matching by l2 is SiD at alpha 1 without it; DMD's are KL's
over the mean distance.
"""


@pytest.mark.parametrize(("method", "overrides", "level", "gradient"), CLOSED_FORMS)
def test_a_generators_gradient_is_the_closed_form(method, overrides, level, gradient):
    unit = {
        "sid": LOSS_SCALE * PIXELS / mean_distance(level),
        "sim": PIXELS,
        "diff-instruct": PIXELS,
    }.get(method, 1)
    found = torch.stack(found_gradient(method, level, **overrides)) / unit
    atol = 2e-3 if method.startswith("dmd") else 1e-3
    torch.testing.assert_close(found, torch.tensor(gradient, dtype=torch.float64), rtol=0.02, atol=atol)


@pytest.mark.parametrize(("level", "alpha"), SID)
def test_sid_gradient_at_unit_weight_is_the_closed_form(level, alpha):
    """The weight is a constant for each image, so that multiplying by it takes it away."""
    x, z, real, fake = noised(level)
    loss = (sid_loss(x, real, fake, alpha)[:, None, None, None] * sid_weight(x, real)).sum() / x.numel()
    gradient = torch.autograd.grad(loss, x)[0] * x.numel()
    found = torch.stack([gradient.mean(), (gradient * z).mean()])
    expected = torch.tensor(SID[level, alpha], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=2e-4 if level < 0.5 else 2e-3)


def noised(level: float, images: int = IMAGES):
    """Generated images (N, 3, 32, 32), their noise, and both exact denoisers' outputs."""
    torch.manual_seed(2)
    z, noise = (torch.randn(images, 3, 32, 32, dtype=torch.float64) for _ in range(2))
    x = (M + TAU * z).requires_grad_(True)
    return (
        x,
        z,
        *(GaussianDenoiser(mu, s).double()(x + level * noise, level) for mu, s in ((MU, S), (M, TAU))),
    )


def test_an_image_with_nan_drops_out_of_sids_loss():
    x, _, real, fake = noised(0.5, images=3)
    fake = fake.masked_fill(torch.tensor([False, True, False])[:, None, None, None], float("nan"))
    loss = sid_loss(x, real, fake, 1.2)
    assert loss[1] == 0
    assert loss.isfinite().all()
    torch.testing.assert_close(loss[::2], sid_loss(x[::2], real[::2], fake[::2], 1.2))


@pytest.mark.parametrize("c", [0.0, 0.03, 10 / math.sqrt(PIXELS)])
@pytest.mark.parametrize("level", [0.5, 2.0])
def test_implicit_matching_by_pseudo_huber_has_its_limit_for_many_pixels(level, c):
    """A B (m - mu) / sqrt(q + c^2) a pixel and root of their number, q the mean squared gap, c in
    the same unit.
    """
    a, b = level**2 / (S**2 + level**2), level**2 / (TAU**2 + level**2)
    q = (b - a) ** 2 * (TAU**2 + level**2) + a**2 * (MU - M) ** 2
    found = found_gradient("sim", level, huber_c=c)[0].item() / math.sqrt(PIXELS)
    assert found == pytest.approx(a * b * (M - MU) / math.sqrt(q + c**2), rel=0.02)


@settings(max_examples=50)
@given(level=st.floats(0.05, 10), c=st.floats(0.01, 5), seed=st.integers(0, 1000))
def test_implicit_matching_gradient_of_every_pixel_is_the_written_formula(level, c, seed):
    """[(B - A)(D_fake - x) - B gap] / rho - (sum gap (D_fake - x)) (B - A) gap / rho^3, rho =
    sqrt(|gap|^2 + c^2).
    """
    generator = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    x.requires_grad_(True)
    real, fake = (
        GaussianDenoiser(mu, s).double()(x + level * noise, level) for mu, s in ((MU, S), (M, TAU))
    )
    found = torch.autograd.grad(sim_loss(x, real, fake, c).sum(), x)[0]
    real_s, fake_s = (GaussianDenoiser(0.0, v).log_s.double().exp().item() ** 2 for v in (S, TAU))
    a, b = level**2 / (real_s + level**2), level**2 / (fake_s + level**2)
    gap, error = (real - fake).detach(), (fake - x).detach()
    rho = (gap.square().sum((1, 2, 3), keepdim=True) + c**2).sqrt()
    product = (gap * error).sum((1, 2, 3), keepdim=True)
    torch.testing.assert_close(
        found, ((b - a) * error - b * gap) / rho - product * (b - a) * gap / rho**3, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(("level", "distance"), [(0.1, 0.082335), (0.5, 0.485248), (2.0, 0.968798)])
def test_mean_distance_has_its_tabulated_values(level, distance):
    assert mean_distance(level) == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "value", "gradient"),
    [(0.5, -0.047768, -0.080415), (1.0, -0.100879, -0.024441), (1.2, -0.122124, -0.002052)],
)
def test_sid_loss_of_one_pixel_has_its_tabulated_value_and_gradient(alpha, value, gradient):
    x = torch.tensor([[[[0.3]]]], dtype=torch.float64, requires_grad=True)
    y = x + 0.5 * -0.5
    real, fake = (GaussianDenoiser(mu, s).double()(y, 0.5) for mu, s in ((MU, S), (M, TAU)))
    weight = (x - real).abs().item()
    assert real.item() == pytest.approx(0.316393, abs=1e-6)
    assert fake.item() == pytest.approx(-0.009524, abs=1e-6)
    loss = sid_loss(x, real, fake, alpha)
    assert loss.item() * weight == pytest.approx(value, abs=2e-6)
    assert torch.autograd.grad(loss.sum(), x)[0].item() * weight == pytest.approx(gradient, abs=2e-6)


@settings(max_examples=50)
@given(
    level=st.floats(0.01, 20),
    mu=st.floats(-1, 1),
    s=st.floats(0.1, 1.5),
    m=st.floats(-1, 1),
    tau=st.floats(0.1, 1.5),
    alpha=st.floats(0, 1.5),
    seed=st.integers(0, 1000),
)
def test_sid_gradient_of_every_pixel_is_the_written_formula(level, mu, s, m, tau, alpha, seed):
    """(1/w) {(B - A)(D_real - x) - A gap - 2 alpha (B - A) gap}, gap = D_real - D_fake, for each
    pixel of each image.
    """
    generator = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    x.requires_grad_(True)
    y = x + level * noise
    real, fake = GaussianDenoiser(mu, s).double()(y, level), GaussianDenoiser(m, tau).double()(y, level)
    found = torch.autograd.grad(sid_loss(x, real, fake, alpha).sum(), x)[0]
    real_s, fake_s = (GaussianDenoiser(0.0, v).double().log_s.exp().item() ** 2 for v in (s, tau))
    a, b, gap = level**2 / (real_s + level**2), level**2 / (fake_s + level**2), (real - fake).detach()
    weight = (x - real).detach().abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-5)
    formula = ((b - a) * (real - x).detach() - a * gap - 2 * alpha * (b - a) * gap) / weight
    # where the two scores nearly agree, terms of order (real - x) / w, at most the number of pixels, cancel down to rounding
    torch.testing.assert_close(found, formula, rtol=1e-9, atol=1e-13 * x[0].numel())
