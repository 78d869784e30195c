"""The trajectory methods against closed forms, where the data are Gaussian and so is every step of
the teacher.

Data N(mu, s^2), each pixel alone. The exact solution of the teacher's flow from sigma to 0 is f(y;
sigma) = mu + (y - mu) s / sqrt(s^2 + sigma^2). A step from a to b multiplies y - mu by e(a, b) if
it is Euler's, by h(a, b) if it is Heun's.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import registry
from bench.plugin import Batch, ImageSpec, euler_step, heun_step
from bench.settings import choose_settings
from methods.ect import lower_level
from methods.pd import two_steps_in_one
from methods.scd import LogVariance, derivative, velocity
from teachers.analytic import Gaussian, GaussianDenoiser

MU, S = 0.7, 0.6


class Teacher(Gaussian):
    image_spec = ImageSpec(3, 8)
    mu, s = MU, S


def e(a, b, s=S):
    return 1 + (b - a) * a / (s**2 + a**2)


def h(a, b, s=S):
    return 1 + 0.5 * (b - a) * (a / (s**2 + a**2) + e(a, b, s) * b / (s**2 + b**2))


def exact(y, sigma):
    """f(y; sigma), the end of the flow."""
    level = torch.as_tensor(sigma, dtype=y.dtype).reshape(-1, *[1] * (y.ndim - 1))
    return MU + (y - MU) * S / (S**2 + level**2).sqrt()


def instance(name, **overrides):
    """A method on the Gaussian teacher, in float64."""
    method = registry.methods.get(name)
    teacher = Teacher()
    teacher.denoiser.double()
    made = method(choose_settings(method, "gaussian", overrides).settings, teacher)
    made.prepare_training(teacher)
    made.generator.double().train()
    return made


def real(count=16):
    """Real images, in a batch."""
    torch.manual_seed(0)
    images = MU + S * torch.randn(count, 3, 8, 8, dtype=torch.float64)
    return Batch(torch.randn_like(images), real=(images, None))


@settings(max_examples=30)
@given(a=st.floats(0.01, 80), shrink=st.floats(0.05, 0.99), y=st.floats(-100, 100))
def test_one_step_multiplies_its_factor(a, shrink, y):
    b, state = a * shrink, torch.full((1, 1, 1, 1), y, dtype=torch.float64)
    denoiser = GaussianDenoiser(MU, S).double()
    mu = denoiser.mu.item()
    s = denoiser.log_s.exp().item()
    for step, factor in ((euler_step, e), (heun_step, h)):
        assert step(denoiser, state, a, b).item() == pytest.approx(
            mu + (y - mu) * factor(a, b, s), rel=1e-9, abs=1e-9
        )


def test_progressive_distillation_aims_where_two_steps_of_the_teacher_end():
    """x* = mu + (y - mu) (s1 e(s1, s2) e(s2, s3) - s3) / (s1 - s3): 0.737085 for y = 3 and levels
    5, 4, 3.2.
    """
    denoiser = GaussianDenoiser(MU, S).double()
    y = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    levels = [torch.tensor([level], dtype=torch.float64) for level in (5.0, 4.0, 3.2)]
    found = two_steps_in_one(denoiser, y, *levels).item()
    assert found == pytest.approx(0.737085, abs=1e-6)
    formula = MU + (3 - MU) * (5 * e(5, 4) * e(4, 3.2) - 3.2) / (5 - 3.2)
    assert found == pytest.approx(formula, abs=1e-6)
    assert euler_step(lambda *_: torch.full_like(y, found), y, 5.0, 3.2).item() == pytest.approx(
        MU + (3 - MU) * e(5, 4) * e(4, 3.2), abs=1e-6
    )


def test_progressive_distillation_halves_its_steps_and_its_student_becomes_the_teacher():
    method = instance("pd", distance="l2", first_steps=8)
    assert method.plan == [8, 4, 2, 1]
    assert method.stages == pytest.approx([1 / 6, 2 / 6, 4 / 6])  # the last two stages are twice as long
    assert method.nfe == 8
    with torch.no_grad():
        method.generator.mu += 1
    average = registry.methods.get("pd")  # any object: the average is not used
    method.begin_stage(1, average)
    assert method.nfe == 4
    assert method.stage_teacher.mu.item() == method.generator.mu.item() == pytest.approx(MU + 1)


def test_progressive_distillation_generates_by_euler_steps_on_its_own_grid():
    method = instance("pd", distance="l2", first_steps=4)
    z = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    levels = method.noise.karras(torch.linspace(0, 1, 5, dtype=torch.float64)).tolist()
    factor = math.prod(e(a, b) for a, b in itertools.pairwise(levels))
    torch.testing.assert_close(method.generate(z), MU + (80 * z - MU) * factor, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 5.0])
def test_a_consistency_model_is_the_identity_at_its_lowest_level(sigma):
    method = instance("cd", distance="l2")
    y = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    moved = (method.student(y, sigma) - y).abs().max()
    assert (moved < 1e-12) == (sigma == method.noise.sigma_min)


def test_a_consistency_model_has_the_papers_coefficients():
    """c_skip' y + c_out' F, with F = (D - c_skip y) / c_out of the network as it is."""
    method = instance("cd", distance="l2")
    y, sigma, data, low = torch.randn(2, 3, 8, 8, dtype=torch.float64), 1.7, 0.25, 0.002
    f = (method.generator(y, sigma) - data / (sigma**2 + data) * y) / (
        sigma * 0.5 / math.sqrt(sigma**2 + data)
    )
    skip, out = data / ((sigma - low) ** 2 + data), (sigma - low) * 0.5 / math.sqrt(sigma**2 + data)
    torch.testing.assert_close(method.student(y, sigma), skip * y + out * f)


@pytest.mark.parametrize(("solver", "factor"), [("heun", h), ("euler", e)])
def test_the_exact_consistency_function_leaves_the_error_of_the_teachers_step(solver, factor):
    """(y - mu) s |h(a, b) / sqrt(s^2 + b^2) - 1 / sqrt(s^2 + a^2)| at every pixel."""
    method = instance("cd", distance="l2", solver=solver, levels=18)
    calls = []

    def consistent(network, y, sigma, labels):
        calls.append((y.detach(), sigma))
        return exact(y, sigma)

    method.consistent = consistent
    loss = method.loss(real())
    (y, a), (_, b) = calls
    a, b = a[:, None, None, None], b[:, None, None, None]
    residual = (y - MU) * S * (factor(a, b) / (S**2 + b**2).sqrt() - 1 / (S**2 + a**2).sqrt())
    torch.testing.assert_close(loss, residual.square().mean((1, 2, 3)), rtol=1e-5, atol=1e-9)


def test_neighbouring_levels_of_consistency_distillation_are_those_of_karras_grid():
    method = instance("cd", distance="l2", levels=3)
    seen = set()
    student = method.student
    method.student = lambda y, sigma, labels=None: (
        seen.update(sigma.tolist()),
        student(y, sigma, labels),
    )[1]
    method.loss(real(64))
    assert sorted(seen) == pytest.approx(
        sorted(method.noise.karras(torch.tensor([0.0, 0.5], dtype=torch.float64)).tolist())
    )


def test_the_target_network_of_consistency_distillation_follows_by_its_decay():
    method = instance("cd", distance="l2", target_decay=0.9)
    before = method.target.mu.item()
    with torch.no_grad():
        method.generator.mu += 1.0
        method.move_target()
    assert method.target.mu.item() == pytest.approx(0.9 * before + 0.1 * (before + 1.0))


def test_easy_consistency_tuning_compares_one_noise_at_two_levels():
    """With f exact the pair differs by s {(x - mu) [1/c(a) - 1/c(b)] + noise [a/c(a) - b/c(b)]},
    c(a) = sqrt(s^2 + a^2).
    """
    method = instance("ect", stage_images=1000)
    calls = []

    def student(y, sigma, labels=None):
        calls.append((y.detach(), sigma))
        return exact(y, sigma)

    method.student = student
    batch = real(64)
    batch.seen = 1500
    loss = method.loss(batch)
    (upper, a), _ = calls
    x = batch.real[0]
    lower = lower_level(a, 2.0, 1)
    a, low = a[:, None, None, None], lower[:, None, None, None]
    noise = (upper - x) / a
    c, d = (S**2 + a**2).sqrt(), (S**2 + low**2).sqrt()
    residual = S * ((x - MU) * (1 / c - 1 / d) + noise * (a / c - low / d))
    residual = torch.where(
        low > 0, residual, exact(upper, a.flatten()) - x
    )  # at level 0 the target is the image
    torch.testing.assert_close(
        loss, residual.square().sum((1, 2, 3)).sqrt() / (a - low).flatten(), rtol=1e-6, atol=1e-9
    )
    assert (lower == 0).any()
    assert (lower > 0).any()


@given(sigma=st.floats(1e-3, 80), ratio=st.floats(1.5, 256), stage=st.integers(0, 10))
def test_the_lower_level_is_below_and_rises_with_the_stages(sigma, ratio, stage):
    level = torch.tensor([sigma], dtype=torch.float64)
    lower, later = (lower_level(level, ratio, k).item() for k in (stage, stage + 1))
    assert 0 <= lower <= sigma
    assert later >= lower
    expected = 1 - ratio ** -(stage + 1) * (1 + 8 / (1 + math.exp(sigma)))
    assert lower == pytest.approx(sigma * min(max(0.0, expected), 0.999), rel=1e-9)


@pytest.mark.parametrize("stage", [0, 8, 30, 1000])
def test_the_two_levels_never_meet_however_long_the_training(stage):
    """In float32: the loss divides by their gap."""
    sigma = torch.logspace(-4, 2, 10_000)
    assert (sigma - lower_level(sigma, 2.0, stage) > 0.0009 * sigma).all()


def test_the_log_variance_follows_the_error_over_all_levels():
    """The loss e^-w err + w is least at w = ln err. Of an error that changes by a million from the lowest
    level to the highest, e^-w err comes within a factor of two of 1 at every level.
    """
    torch.manual_seed(0)
    w = LogVariance()
    optimizer = torch.optim.RAdam(w.parameters(), 1e-3, (0.9, 0.99))
    for _ in range(2_000):
        sigma = (1.4 * torch.randn(256) - 1.0).exp().clamp(0.002, 80)
        error = error_at(sigma)
        loss = ((-w(sigma)).exp() * error + w(sigma)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    levels = torch.tensor([0.02, 0.1, 0.5, 2.0, 8.0])
    balance = (-w(levels)).exp() * error_at(levels)
    assert (balance > 0.5).all()
    assert (balance < 2.0).all()


def error_at(sigma: torch.Tensor) -> torch.Tensor:
    """An error as sCD's, which falls with the noise level."""
    return 0.01 / (sigma**1.3 + 1e-4)


def test_the_exact_consistency_function_has_no_tangent():
    """df/dt = 0 along the teacher's flow, so that continuous-time distillation leaves it as it is."""
    method = instance("scd")

    class Exact(torch.nn.Module):
        def forward(self, y, sigma, labels=None):
            return exact(y, sigma)

    method.generator = Exact()
    t = torch.linspace(0.05, 1.5, 16, dtype=torch.float64)
    x_t = torch.randn(16, 3, 8, 8, dtype=torch.float64)
    flow = velocity(method.teacher, x_t, t, 0.5, None)
    own = velocity(method.generator, x_t, t, 0.5, None)
    tangent = method.tangent(x_t, t, own, flow, 1.0, None)
    assert tangent.abs().max() < 1e-5
    halfway = method.tangent(x_t, t, own, flow, 0.5, None)
    assert halfway.abs().max() > 0.1


def test_the_tangent_is_the_derivative_of_the_clean_image_along_the_flow():
    """Before normalisation it is cos(t) df/dt, here by central differences of f = cos(t) x_t -
    sin(t) sigma_data F.
    """
    method = instance("scd", normaliser=1e12)  # divides by a constant
    torch.manual_seed(0)
    t = torch.linspace(0.1, 1.4, 8, dtype=torch.float64)
    x_t = torch.randn(8, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        method.generator.mu += 0.3
        flow = velocity(method.teacher, x_t, t, 0.5, None)
        own = velocity(method.generator, x_t, t, 0.5, None)
        tangent = method.tangent(x_t, t, own, flow, 1.0, None)

        def clean(x, t):
            sin, cos = t.sin()[:, None, None, None], t.cos()[:, None, None, None]
            return cos * x - sin * velocity(method.generator, x, t, 0.5, None)

        d = 1e-5
        slope = (clean(x_t + d * flow, t + d) - clean(x_t - d * flow, t - d)) / (2 * d)
    torch.testing.assert_close(
        tangent * 1e12, t.cos()[:, None, None, None] * slope, rtol=1e-5, atol=1e-6
    )


def test_a_derivative_comes_with_the_value():
    x, direction = torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0])
    value, change = derivative(lambda x: x**3, (x,), (direction,))
    assert value.tolist() == [8, 27]
    assert change.tolist() == [12, -27]


def test_regression_on_pairs_is_at_its_optimum_at_the_teachers_map():
    """The generator m + tau z for which the flow from 80 z ends where the Heun pairs do has no
    gradient; the teacher's does.
    """
    method = instance("kd", distance="l2")
    z = torch.randn(512, 3, 8, 8, dtype=torch.float64)
    images = Teacher.sampler(method_denoiser := GaussianDenoiser(MU, S).double(), z, method.noise)
    steps = itertools.pairwise(Teacher.sampler.levels(method.noise))
    factor = math.prod(h(a, b) if b else e(a, b) for a, b in steps)
    batch = Batch(z, pairs=(z, images, None))

    class Affine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = torch.nn.Parameter(torch.tensor(MU * (1 - factor), dtype=torch.float64))
            self.tau = torch.nn.Parameter(torch.tensor(80 * factor, dtype=torch.float64))

        def forward(self, x, sigma, labels=None):
            return self.m + self.tau * x / 80

    start = method.loss(batch)
    assert start.mean() > 0.3  # as it starts: nearly the mean, and a deviation of 0.0045
    method.generator = method_denoiser
    assert method.generate(z).std().item() == pytest.approx(0.0045, rel=0.02)
    method.generator = Affine()
    loss = method.loss(batch).mean()
    gradient = torch.autograd.grad(loss, list(method.generator.parameters()))
    assert loss < 1e-10
    assert all(g.abs() < 1e-5 for g in gradient)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_value_of_the_continuous_loss_is_that_of_the_tangent(dropout):
    """F_theta - F^- is zero in value whatever is dropped: what is left is the mean of g^2 over
    sigma and the pixels.
    """
    from tests.helpers.trainers import make_trainer

    trainer = make_trainer("scd", dropout=dropout, warmup_images=0)
    seen = []
    tangent = trainer.method.tangent
    trainer.method.tangent = lambda *a: seen.append((tangent(*a), a[1])) or seen[-1][0]
    trainer.method.generator.train()
    loss = trainer.method.loss(trainer._fresh_batch())
    g, t = seen[0]
    sigma = 0.5 * t.double().tan()
    torch.testing.assert_close(loss, g.square().mean((1, 2, 3)) / (sigma * 64), rtol=1e-4, atol=1e-9)
