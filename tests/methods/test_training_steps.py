"""What every method's update must do and must leave alone, on the embedded teacher."""

from __future__ import annotations

import copy

import pytest
import torch

from bench.plugin import Batch
from tests.conftest import DATA_FREE, make_trainer


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_generator_gradient_is_zero_while_the_fake_score_is_the_teacher(method, settings):
    """To the last bit where nothing is differentiated through the scores; to rounding in SiD, whose two paths cancel."""
    trainer = make_trainer(method, **settings)
    step = next(s for s in trainer.steps if s.role == "generator")
    for network in trainer.roles.values():
        network.double()
    trainer.method.fake.requires_grad_(False)

    def gradient():
        step.network.zero_grad()
        torch.manual_seed(0)
        step.loss(Batch(torch.randn(64, 1, 8, 8, dtype=torch.float64))).mean().backward()
        return torch.cat([p.grad.flatten() for p in step.network.parameters()])

    assert gradient().abs().max() <= (1e-10 if method == "sid" else 0)
    with torch.no_grad():
        trainer.method.fake.model.last.bias += 0.01
    assert gradient().abs().max() > 1e-5


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_a_step_changes_its_own_network_and_no_other(method, settings):
    trainer = make_trainer(method, batch=32, warmup_updates=0, **settings) if method == "dmd" else make_trainer(method, batch=32)
    for _ in range(2):
        trainer.iteration()
    for step in trainer.steps:
        before = {role: copy.deepcopy(network.state_dict()) for role, network in trainer.roles.items()}
        batch = trainer._fresh_batch()
        if step.reuse:
            batch = trainer.batch
        trainer._update(step, batch)
        for role, network in trainer.roles.items():
            unchanged = all(torch.equal(t, before[role][name]) for name, t in network.state_dict().items())
            assert unchanged == (role != step.role), f"{step.role} step, {role} network"
            if role != step.role:
                assert not any(p.requires_grad for p in network.parameters())
                assert not network.training


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_the_fake_loss_at_its_optimum_is_the_number_of_pixels(method, settings):
    """For images N(0, sigma_data^2) the EDM-weighted loss of the exact denoiser is 1 a pixel at every noise level."""
    from teachers.analytic import GaussianDenoiser

    trainer = make_trainer(method, **settings)
    instance = trainer.method
    instance.fake = GaussianDenoiser(0.0, 0.5)
    instance.generate = lambda z, labels=None: 0.5 * z
    torch.manual_seed(0)
    batch = Batch(torch.randn(4000, 1, 8, 8))
    batch.memo["x"] = 0.5 * batch.z
    per_pixel = instance.fake_loss(batch).mean().item() / (1 if method == "dmd" else 64)
    assert per_pixel == pytest.approx(1.0, rel=0.01)


def test_the_pairs_of_dmd_are_regressed_on_their_own_noise():
    """With the matching term at zero the loss is the weighted mean squared error of the generator on the pairs."""
    trainer = make_trainer("dmd", regression=0.25)
    z, images = torch.randn(8, 1, 8, 8), torch.randn(8, 1, 8, 8)
    loss = trainer.method.generator_loss(Batch(torch.randn(8, 1, 8, 8), pairs=(z, images, None)))
    expected = 0.25 * (trainer.method.generate(z) - images).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, expected)


def test_dmd_fake_score_learns_the_images_of_before_the_generators_update():
    trainer = make_trainer("dmd", regression=0, batch=16)
    generator = copy.deepcopy(trainer.method.generator)
    trainer.iteration()
    sigma = trainer.settings.init_sigma
    torch.testing.assert_close(trainer.batch.memo["x"], generator(sigma * trainer.batch.z, sigma))


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_dropout_reaches_the_trainable_copies_and_not_the_teacher(method, settings):
    trainer = make_trainer(method, dropout=0.3, **settings)
    rates = {role: {m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)} for role, net in trainer.roles.items()}
    assert rates == {"teacher": {0.0}, "fake": {0.3}, "generator": {0.3}}
