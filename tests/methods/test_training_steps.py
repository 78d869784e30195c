"""What every method's update must do and must leave alone, on the embedded teacher."""

from __future__ import annotations

import copy

import pytest
import torch

from bench.plugin import Batch
from tests.helpers.trainers import DATA_FREE, TRAINED, make_trainer
from tests.methods.helpers import at_once


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_generator_gradient_is_zero_while_the_fake_score_is_the_teacher(method, settings):
    """To the last bit where nothing is differentiated through the scores; to rounding in SiD and
    SIM, whose two paths cancel.
    """
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

    assert gradient().abs().max() <= (1e-10 if method in ("sid", "sim") else 0)
    with torch.no_grad():
        trainer.method.fake.model.last.bias += 0.01
    assert gradient().abs().max() > 1e-5


def watched_iteration(trainer) -> Batch:
    """One iteration, and the first batch that it drew."""
    drawn, fresh = [], trainer._fresh_batch
    trainer._fresh_batch = lambda: drawn.append(fresh()) or drawn[-1]
    trainer.iteration()
    trainer._fresh_batch = fresh
    return drawn[0]


@pytest.mark.parametrize(("method", "settings"), TRAINED)
def test_a_step_changes_its_own_network_and_no_other(method, settings):
    warm = {} if method not in ("dmd", "dmd2", "f-distill", "kd") else {"warmup_updates": 0}
    trainer = make_trainer(method, batch=32, **settings, **warm)
    last_batch = [watched_iteration(trainer) for _ in range(2)][-1]
    modules = trainer._modules() | {"teacher": trainer.teacher.denoiser}
    for step in trainer.steps:
        own = {name for name, module in modules.items() if module in step.modules}
        own |= {"other.target"} if step.after and "other.target" in modules else set()
        before = {name: copy.deepcopy(module.state_dict()) for name, module in modules.items()}
        batch = trainer._fresh_batch()
        if step.reuse:
            batch = last_batch
        trainer._update(step, trainer._in_parts(batch))
        for name, module in modules.items():
            unchanged = all(torch.equal(t, before[name][key]) for key, t in module.state_dict().items())
            ratios = (
                name == "head.fake" and step.role == "generator" and method == "f-distill"
            )  # its buffer, no weight
            assert unchanged == (name not in own) or ratios, f"{step.role} step, {name}"
            if module not in step.modules:
                assert not any(p.requires_grad for p in module.parameters())
                assert not module.training or name == "other.target"


REACHED = {
    "sid": {"fake": {"fake"}, "generator": {"generator", "fake", "teacher"}},
    "sida": {"fake": {"fake"}, "generator": {"generator", "fake", "teacher"}},
    "sid2a": {"fake": {"fake"}, "generator": {"generator", "fake", "teacher"}},
    "sim": {"fake": {"fake"}, "generator": {"generator", "fake", "teacher"}},
    "diff-instruct": {"fake": {"fake"}, "generator": {"generator"}},
    "dmd": {"fake": {"fake"}, "generator": {"generator"}},
    "dmd2": {"fake": {"fake", "fake head"}, "generator": {"generator", "fake", "fake head"}},
    "f-distill": {"fake": {"fake", "fake head"}, "generator": {"generator", "teacher", "fake head"}},
    "kd": {"generator": {"generator"}},
    "pd": {"generator": {"generator"}},
    "cd": {"generator": {"generator"}},
    "ect": {"generator": {"generator"}},
    "scd": {"generator": {"generator", "generator head"}},
}
"""For each loss, the networks through which its gradient passes if none is frozen: all others are
behind a stop-gradient.
"""


@pytest.mark.parametrize("method", REACHED)
def test_each_loss_sends_its_gradient_through_these_networks_and_no_others(method):
    trainer = make_trainer(method, batch=32, **at_once(method))
    last_batch = [watched_iteration(trainer) for _ in range(2)][-1]
    if method == "sid2a":
        trainer._begin_next_stage()
    named = {"teacher": trainer.teacher.denoiser, **trainer.method.networks()}
    for step in trainer.steps:
        named |= {step.role: step.network} | (
            {f"{step.role} head": step.head} if step.head is not None else {}
        )
    for step in trainer.steps:
        for module in named.values():
            module.requires_grad_(True).zero_grad()
        batch = trainer._fresh_batch()
        batch.seen = 10**6
        if step.reuse:
            batch.memo["x"] = last_batch.memo["x"]
        step.loss(batch).sum().backward()
        reached = {
            name
            for name, module in named.items()
            if any(p.grad is not None and p.grad.any() for p in module.parameters())
        }
        assert reached == REACHED[method][step.role], step.role


def test_with_no_adversarial_weight_dmd2_reads_no_encoder():
    trainer = make_trainer("dmd2", gan=0, batch=8)
    trainer.iteration()
    assert trainer.steps[1].head is None
    assert trainer.real is None


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_the_fake_loss_at_its_optimum_is_the_number_of_pixels(method, settings):
    """For images N(0, sigma_data^2) the EDM-weighted loss of the exact denoiser is 1 a pixel at
    every noise level.
    """
    from teachers.analytic import GaussianDenoiser

    trainer = make_trainer(method, **settings)
    instance = trainer.method
    instance.fake = GaussianDenoiser(0.0, 0.5)
    instance.generate = lambda z, labels=None: 0.5 * z
    torch.manual_seed(0)
    batch = Batch(torch.randn(4000, 1, 8, 8))
    batch.memo["x"] = 0.5 * batch.z
    per_pixel = instance.fake_loss(batch).mean().item() / (1 if method.startswith("dmd") else 64)
    assert per_pixel == pytest.approx(1.0, rel=0.01)


def test_the_pairs_of_dmd_are_regressed_on_their_own_noise():
    """With the matching term at zero the loss is the weighted mean squared error of the generator
    on the pairs.
    """
    trainer = make_trainer("dmd", regression=0.25)
    z, images = torch.randn(8, 1, 8, 8), torch.randn(8, 1, 8, 8)
    loss = trainer.method.generator_loss(Batch(torch.randn(8, 1, 8, 8), pairs=(z, images, None)))
    expected = 0.25 * (trainer.method.generate(z) - images).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, expected)


def test_dmd_fake_score_learns_the_images_of_before_the_generators_update():
    trainer = make_trainer("dmd", regression=0, batch=16)
    generator = copy.deepcopy(trainer.method.generator)
    batch = watched_iteration(trainer)
    sigma = trainer.settings.init_sigma
    torch.testing.assert_close(batch.memo["x"], generator(sigma * batch.z, sigma))


@pytest.mark.parametrize(("method", "settings"), DATA_FREE)
def test_dropout_reaches_the_trainable_copies_and_not_the_teacher(method, settings):
    trainer = make_trainer(method, dropout=0.3, **settings)
    rates = {
        role: {m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)}
        for role, net in trainer.roles.items()
    }
    assert rates == {
        "teacher": {0.3 if method == "diff-instruct" else 0.0},
        "fake": {0.3},
        "generator": {0.3},
    }


def test_diff_instruct_drops_the_same_units_of_both_score_networks():
    """So that there is no gap at the start, whatever the dropout of the teacher's file; without it
    there is none either.
    """
    for given in (True, False):
        trainer = make_trainer("diff-instruct", dropout=0.3, score_dropout=given)
        y, sigma = torch.randn(8, 1, 8, 8), torch.full((8,), 0.5)
        real, fake = trainer.method.denoised(y, sigma, None)
        assert torch.equal(real, fake)
        assert torch.equal(real, trainer.teacher.denoiser(y, sigma)) == (not given)
        assert not trainer.teacher.denoiser.training
