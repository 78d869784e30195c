"""What the adversarial methods' losses are at equal logits, and how density ratios become weights."""

from __future__ import annotations

import math

import pytest
import torch

import methods.sida
from bench.errors import UsageError
from bench.plugin import Batch
from methods.f_distill import BINS, WEIGHTS
from methods.parts.discriminator import Head, loss_as_fake, loss_as_real
from methods.parts.distribution_matching import backward_simulation, direction
from methods.sid import sid_weight
from tests.helpers.trainers import make_trainer


def noise_batch(count=16, **fields):
    torch.manual_seed(0)
    real = torch.rand(count, 1, 8, 8) * 2 - 1
    return Batch(torch.randn(count, 1, 8, 8), real=(real, None), **fields)


def spread(method):
    """Makes the fake score differ from the teacher."""
    with torch.no_grad():
        method.fake.model.last.bias += 0.1


def test_equal_logits_cost_ln_2():
    assert (
        loss_as_real(torch.zeros(1)).item()
        == loss_as_fake(torch.zeros(1)).item()
        == pytest.approx(math.log(2))
    )


def test_sida_at_zero_logits_adds_ln_2_over_the_weights(monkeypatch):
    """The discriminator's term is ln 2 lambda(sigma), the generator's 0.01 P ln 2 / w; the latter
    counts from its image on.
    """
    method = make_trainer(
        "sida", generator_starts_at=0, adversarial_starts_at=100, micro_batch=4, adversarial=0.01
    ).method
    spread(method)
    monkeypatch.setattr(methods.sida, "logits", lambda features: 0 * features.mean(1))
    sigmas, weights = [], []
    sample = method.noise.sample
    object.__setattr__(method.noise, "sample", lambda x: sigmas.append(sample(x)) or sigmas[-1])
    try:
        values = []
        for factor in (0.0, 1.0):
            method.settings = method.settings.model_copy(update={"discriminator": factor})
            torch.manual_seed(1)
            values.append(method.fake_loss(noise_batch()))
    finally:
        object.__delattr__(method.noise, "sample")
    torch.testing.assert_close(
        values[1] - values[0], math.log(2) * method.noise.weight(sigmas[-1]), rtol=1e-3, atol=1e-2
    )

    monkeypatch.setattr(
        methods.sida, "sid_weight", lambda x, real: weights.append(sid_weight(x, real)) or weights[-1]
    )
    torch.manual_seed(1)
    alone = method.generator_loss(noise_batch(seen=100))
    torch.manual_seed(1)
    both = method.generator_loss(noise_batch(seen=101))
    adversarial = 0.01 * 64 * math.log(2) / weights[-1].flatten()
    torch.testing.assert_close(both, (alone + adversarial) / 2, rtol=1e-4, atol=1e-3)


def test_sidas_adversarial_loss_is_shared_within_a_micro_batch():
    method = make_trainer("sida", micro_batch=3).method
    losses = torch.arange(8.0)[:, None, None].expand(8, 2, 2)
    assert method.averaged(losses).tolist() == [1, 1, 1, 4, 4, 4, 6.5, 6.5]


def test_sida_waits_before_its_generator_moves_and_counts_the_images():
    trainer = make_trainer("sida", batch=10, generator_starts_at=25)
    before = [p.clone() for p in trainer.method.generator.parameters()]
    moved = []
    for _ in range(4):
        trainer.iteration()
        moved.append(
            any(
                not torch.equal(a, b)
                for a, b in zip(before, trainer.method.generator.parameters(), strict=True)
            )
        )
    assert moved == [False, False, False, True]
    assert trainer.ledger.images == 40


def test_sid2a_goes_from_sid_to_sida_and_starts_its_fake_score_anew():
    trainer = make_trainer("sid2a", budget="updates=4", batch=8, sid_share=0.5, generator_starts_at=0)
    trainer.iteration()
    trainer.iteration()
    assert trainer.stage == 0
    assert all(step.starts_at == 0 and step.optimizer.clip_value is None for step in trainer.steps)
    average = {name: t.clone() for name, t in trainer.average.state_dict().items()}
    trainer._enter_stage()
    teacher = trainer.teacher.denoiser.state_dict()
    assert trainer.stage == 1
    assert all(
        torch.equal(t, average[name]) for name, t in trainer.roles["generator"].state_dict().items()
    )
    assert all(torch.equal(t, teacher[name]) for name, t in trainer.roles["fake"].state_dict().items())
    assert next(s for s in trainer.steps if s.role == "fake").optimizer.clip_value == 1.0
    assert not trainer.optimizers["generator"].state


def test_dmd2_at_zero_logits_adds_ln_2_times_its_weights():
    """gan ln 2 to the generator's loss, guidance 2 ln 2 to the fake score's."""
    method = make_trainer("dmd2", gan=3e-3, guidance=1e-2).method
    spread(method)
    for parameter in method.head[-2].parameters():
        torch.nn.init.zeros_(parameter)
    batch, values = noise_batch(), {}
    for gan in (True, False):
        head = method.head
        method.head = head if gan else None
        for loss in (method.generator_loss, method.fake_loss):
            torch.manual_seed(1)
            values[loss.__name__, gan] = loss(batch)
        method.head = head
    for name, expected in (("generator_loss", 3e-3 * math.log(2)), ("fake_loss", 2e-2 * math.log(2))):
        torch.testing.assert_close(
            values[name, True] - values[name, False], torch.full((16,), expected), rtol=1e-3, atol=1e-5
        )


def test_dmd2_takes_the_generators_batch_first_and_fresh_ones_after_it():
    trainer = make_trainer("dmd2", batch=8)
    seen = []
    fresh = trainer._fresh_batch
    trainer._fresh_batch = lambda: seen.append(fresh()) or seen[-1]
    trainer.iteration()
    assert len(seen) == 5  # the generator's, and four more for five fake updates
    assert ["x" in batch.memo for batch in seen] == [True, False, False, False, False]
    assert set(trainer.costs) == {"generator", "fake", "fake again"}


def test_a_few_step_student_is_trained_on_the_inputs_that_it_meets_when_it_generates():
    """Every image of a batch has a step of its own; the input of a later step comes from the
    student's own earlier ones.
    """
    trainer = make_trainer("dmd2", resample=[5.0, 1.0], gan=0, init_sigma=80.0)
    method, calls = trainer.method, []
    network = method.generator

    class Recorded(torch.nn.Module):
        def forward(self, y, sigma, labels=None):
            calls.append((y.detach(), torch.as_tensor(sigma).expand(len(y)), torch.is_grad_enabled()))
            return network(y, sigma, labels)

    method.generator = Recorded()
    z = torch.randn(64, 1, 8, 8)
    backward_simulation(method.generator, z, method.settings.sigmas, None)
    assert [graded for *_, graded in calls] == [False, False, True]
    inputs, levels, _ = calls[-1]
    assert set(levels.tolist()) == {80.0, 5.0, 1.0}
    torch.testing.assert_close(inputs[levels == 80], 80 * z[levels == 80])
    torch.testing.assert_close(inputs[levels == 5], calls[1][0][levels == 5])
    assert method.nfe == 3


F = {
    "reverse-kl": lambda r: -r.log(),
    "forward-kl": lambda r: r * r.log(),
    "jensen-shannon": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
    "softened-reverse-kl": lambda r: (r + 1) * ((r + 1) / r).log(),
    "neyman": lambda r: (1 - r) ** 2 / (2 * r),
    "hellinger": lambda r: 2 * (1 - r.sqrt()) ** 2,
    "jeffreys": lambda r: (r - 1) * r.log(),
}
"""The divergences' generating functions, E_fake f(real / fake), up to a factor."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weight_of_a_divergence_is_its_second_derivative_times_the_squared_ratio(name):
    r = torch.linspace(0.1, 20, 50, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(F[name](r).sum(), r, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), r)[0]
    scale = 2 if name == "hellinger" else 1
    torch.testing.assert_close(
        WEIGHTS[name](r.detach()), scale * (second * r**2).detach() / (2 if name == "hellinger" else 1)
    )


def test_forward_kl_by_the_exact_ratio_has_the_gradient_of_the_closed_form():
    """B (m - mu) and tau B [1 - (s^2 + sigma^2 + (m - mu)^2) / (v + sigma^2)], with the ratio of
    the noised densities.
    """
    mu, s2, m, v = 0.7, 0.36, -0.2, 0.8
    for sigma, expected in (
        (0.1, (-0.011111, -0.005044)),
        (0.5, (-0.214286, -0.075043)),
        (2.0, (-0.75, -0.057455)),
    ):
        torch.manual_seed(0)
        z, noise = (torch.randn(2_000_000, dtype=torch.float64) for _ in range(2))
        y = m + math.sqrt(v) * z + sigma * noise
        real, fake = ((s * y + sigma**2 * mean) / (s + sigma**2) for mean, s in ((mu, s2), (m, v)))
        density = [
            torch.distributions.Normal(mean, math.sqrt(s + sigma**2)).log_prob(y)
            for mean, s in ((mu, s2), (m, v))
        ]
        ratio = (density[0] - density[1]).exp()
        gradient = WEIGHTS["forward-kl"](ratio) * (fake - real)
        found = gradient.mean().item(), (gradient * z).mean().item()
        assert ratio.mean().item() == pytest.approx(1, abs=0.01)
        assert found == pytest.approx(expected, abs=3e-3)


def test_ratios_are_divided_by_the_mean_of_their_noise_level_and_weights_by_theirs():
    method = make_trainer("f-distill", divergence="forward-kl", ratio_memory=0.5).method
    logits, sigma = torch.tensor([0.0, math.log(3), 0.0]), torch.tensor([1.0, 2.0, 79.0])
    weights = method.weights(Batch(logits), logits, sigma)
    method.keep_mean_ratios()
    means = method.head.mean_ratios
    assert means[0].item() == pytest.approx(0.5 * 1 + 0.5 * 2)  # half the old mean, half that of 1 and 3
    assert means[BINS - 1].item() == pytest.approx(1)
    assert means[1:-1].tolist() == [1] * (BINS - 2)
    ratios = torch.tensor([1 / 1.5, 3 / 1.5, 1.0])
    torch.testing.assert_close(weights, ratios / ratios.mean(), rtol=1e-4, atol=1e-5)


def test_reverse_kl_weighs_every_image_alike():
    method = make_trainer("f-distill", divergence="reverse-kl").method
    torch.testing.assert_close(
        method.weights(Batch(torch.zeros(8)), torch.randn(8), torch.rand(8) * 80),
        torch.ones(8),
        rtol=1e-5,
        atol=1e-5,
    )


def test_the_direction_of_distribution_matching_survives_what_is_not_finite():
    x = torch.zeros(2, 1, 2, 2)
    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    real[1] += 1
    found = direction(x, real, fake)
    assert found.isfinite().all()  # 1 / 0 in the first image
    assert (found[1] == 0).all()


@pytest.mark.parametrize(("channels", "size"), [(256, 8), (768, 8), (128, 1), (64, 16)])
def test_a_head_gives_one_logit_for_each_image(channels, size):
    head = Head(channels, size)
    assert head(torch.randn(3, channels, size, size)).shape == (3,)
    if size == 8:  # as in DMD2: two convolutions of 4x4 and one of 1x1
        assert [m.kernel_size[0] for m in head if isinstance(m, torch.nn.Conv2d)] == [4, 4, 1]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("sida", {}),
        ("f-distill", {}),
        ("sid2a", {"start": None, "sid_share": 0.5}),
    ],  # at once, not after SiD
)
def test_a_teacher_without_an_encoder_is_refused(method, settings):
    with pytest.raises(UsageError, match="no encoder that a discriminator could read"):
        make_trainer(method, teacher="gaussian", **settings)
