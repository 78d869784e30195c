"""The training loop: weight average, learning rates, sanitation, and continuing from a checkpoint."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.files.tensors import load_tensors, save_tensors
from bench.plugin.diffusion import ema_decay
from bench.training.trainer import Trainer
from teachers.digits import EDMDigits
from tests.helpers.trainers import TRAINED, make_trainer


def test_the_weight_average_follows_edms_formula():
    """theta_ema <- b theta_ema + (1 - b) theta, b = 0.5^(B / min(H, 0.05 n)), n the images before
    the step.
    """
    trainer = make_trainer("sid", batch=64, ema_halflife=100)
    expected = None
    for update in range(6):
        trainer.iteration()
        weights = [p.detach().clone() for p in trainer.method.generator.parameters()]
        seen = 64 * update
        decay = 0.5 ** (64 / max(min(100, 0.05 * seen), 1e-8)) if seen else 0.0
        expected = [
            decay * e + (1 - decay) * w for e, w in zip(expected or weights, weights, strict=True)
        ]
    for found, wanted in zip(trainer.averaged().generator.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@given(images=st.integers(0, 10**9), batch=st.integers(1, 8192), halflife=st.floats(1, 1e7))
def test_ema_decay_is_a_decay_and_halves_over_the_halflife(images, batch, halflife):
    decay = ema_decay(images, batch, halflife)
    assert 0 <= decay < 1
    if images * 0.05 >= halflife:
        assert ema_decay(images, round(halflife), halflife) == pytest.approx(
            0.5, rel=0.5 / halflife + 1e-9
        )


def test_evaluation_uses_the_average_and_leaves_the_trained_generator_alone():
    trainer = make_trainer("sid", batch=16)
    trainer.iteration()
    trainer.iteration()
    averaged = trainer.averaged()
    assert averaged.generator is trainer.average
    assert trainer.method.generator is not averaged.generator
    assert not averaged.generator.training


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_learning_rates_decay_linearly_over_the_last_part_of_the_budget(decay):
    trainer = make_trainer("sid", budget="updates=10", batch=4, lr=1e-3, fake_lr=2e-3, lr_decay=decay)
    for update in range(10):
        trainer.iteration()
        factor = min(1.0, (1 - update / 10) / decay) if decay else 1.0
        assert trainer.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(1e-3 * factor)
        assert trainer.optimizers["fake"].param_groups[0]["lr"] == pytest.approx(2e-3 * factor)


def test_warm_up_rises_linearly():
    trainer = make_trainer(
        "dmd", regression=0, batch=4, lr=1e-3, lr_decay=0, warmup_updates=4, budget="updates=10"
    )
    rates = []
    for _ in range(5):
        trainer.iteration()
        rates.append(trainer.optimizers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])


def test_gradients_are_clipped_to_their_norm():
    trainer = make_trainer("dmd", regression=0, batch=4, clip_norm=1e-6)
    trainer.iteration()
    trainer.iteration()
    for step in trainer.steps:
        norm = torch.stack(
            [p.grad.norm() for p in step.network.parameters() if p.grad is not None]
        ).norm()
        assert norm <= 1.01e-6


def test_gradients_that_overflow_do_not_reach_the_weights():
    """A loss of NaN and infinity leaves every weight finite, and the next one trains on."""
    trainer = make_trainer("sid", batch=8)
    step = trainer.steps[0]
    factors = torch.tensor([float("nan"), float("inf")] * 4)
    trainer.steps[0] = dataclasses.replace(step, loss=lambda batch: step.loss(batch) * factors)
    before = copy.deepcopy(step.network.state_dict())
    trainer._update(trainer.steps[0], trainer._in_parts(trainer._fresh_batch()))
    assert not trainer.losses["loss/fake"].isfinite()
    assert all(p.isfinite().all() for p in step.network.parameters())
    trainer.steps[0] = step
    trainer._update(step, trainer._in_parts(trainer._fresh_batch()))
    assert any(not torch.equal(p, before[name]) for name, p in step.network.state_dict().items())


@pytest.mark.parametrize(("method", "settings"), [each for each in TRAINED if each[1]])
def test_continuing_from_a_checkpoint_is_the_same_as_never_stopping(tmp_path, method, settings):
    """To the bit, through a file: dropout, decay, average, ledger, real images drawn, targets,
    heads, and stages begun. Under their own settings all methods do so in ``bench check``.
    """
    settings = {"batch": 16, "dropout": 0.1, **settings}
    straight = make_trainer(method, budget="updates=8", **settings)
    for _ in range(8):
        straight.iteration()
    stopped = make_trainer(method, budget="updates=8", **settings)
    for _ in range(3):
        stopped.iteration()
    save_tensors(tmp_path / "state.safetensors", *stopped.state())
    continued = make_trainer(method, budget="updates=8", seed=99, **settings)
    if continued.real is not None:
        continued.real.seed = 0  # which the recipe of a run keeps
    continued.restore(*load_tensors(tmp_path / "state.safetensors"))
    for _ in range(5):
        continued.iteration()
    (ours, meta), (theirs, other_meta) = continued.state(), straight.state()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert meta["ledger"] == other_meta["ledger"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda steps: [dataclasses.replace(s, role="same") for s in steps],
            "several steps of one role",
        ),
        (lambda steps: steps[:1], "no step of SiD trains its generator"),
        (
            lambda steps: [dataclasses.replace(steps[0], reuse=True), steps[1]],
            "reuses a batch that is not there",
        ),
    ],
)
def test_steps_that_could_not_work_are_refused(change, complaint):
    trainer = make_trainer("sid", batch=4)
    steps = change(list(trainer.steps))
    trainer.method.steps = lambda: steps
    with pytest.raises(BenchError, match=complaint):
        Trainer(trainer.method, EDMDigits(), trainer.budget, torch.device("cpu"))


def test_two_steps_may_train_one_network_and_repeat_on_fresh_batches():
    """As a discriminator head on the fake-score network, or five fake updates for one of the
    generator, would.
    """
    first = make_trainer("sid", batch=4)
    fake, generator = first.steps
    seen = []

    def head_loss(batch):
        seen.append(batch.z)
        return first.method.fake(batch.z, 1.0).square().mean((1, 2, 3))

    steps = [fake, dataclasses.replace(fake, role="head", loss=head_loss, repeat=3), generator]
    first.method.steps = lambda: steps
    trainer = Trainer(first.method, EDMDigits(), first.budget, torch.device("cpu"))
    trainer.iteration()
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    assert trainer.ledger.updates == 1
    assert set(trainer.costs) == {"fake", "head", "generator"}


def test_a_loss_is_told_how_far_the_training_is_also_after_a_stop_and_in_parts():
    """The part of the budget that is spent, the updates and the stage, of the batch that it is given."""

    def told(trainer, updates):
        seen = []
        (step,) = trainer.method.steps()

        def watched(batch):
            seen.append((batch.spent.item(), batch.updates, batch.stage))
            return step.loss(batch)

        trainer.steps = [dataclasses.replace(step, loss=watched)]
        for _ in range(updates):
            trainer.iteration()
        return seen

    straight = told(make_trainer("kd", budget="updates=8", batch=4), 8)
    assert straight == [(i / 8, i, 0) for i in range(8)]
    stopped, continued = (make_trainer("kd", budget="updates=8", batch=4) for _ in range(2))
    first = told(stopped, 3)
    continued.restore(*stopped.state())
    assert first + told(continued, 5) == straight
    parts = make_trainer("kd", budget="updates=8", batch=4)
    parts.execution.batch_gpu = 2
    assert told(parts, 2) == [each for each in straight[:2] for _ in range(2)]


def test_spent_counts_all_stages_and_updates_those_of_the_stage():
    trainer = make_trainer("pd", budget="updates=8", batch=4, first_steps=2, last_steps=1)
    seen = []
    while trainer.fraction < 1:
        trainer._enter_stage()
        batch = trainer._fresh_batch()
        seen.append((batch.spent.item(), batch.updates, batch.stage))
        trainer.iteration()
    assert seen == [(i / 8, i % 4, i // 4) for i in range(8)]


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        (
            lambda batch: batch.z.mean(1),
            "the loss of the generator step of method 'kd' returns is a tensor of shape .4, 8, 8., expected a "
            "tensor of shape .4,.; return one value for each image",
        ),
        (lambda batch: batch.z.mean(), "is a tensor with one value and no dimension, expected"),
        (lambda batch: None, "is a NoneType, expected a tensor of shape .4,."),
    ],
)
def test_a_loss_of_another_shape_is_named(loss, complaint):
    trainer = make_trainer("kd", batch=4)
    trainer.steps = [dataclasses.replace(trainer.steps[0], loss=loss)]
    with pytest.raises(BenchError, match=complaint):
        trainer.iteration()


@pytest.mark.parametrize("value", [torch.zeros(4), 0.5])
def test_a_log_that_is_not_one_number_is_named_at_the_first_update(value):
    trainer = make_trainer("kd", batch=4)
    loss = trainer.steps[0].loss

    def logging(batch):
        batch.logs["alpha"] = value
        return loss(batch)

    trainer.steps = [dataclasses.replace(trainer.steps[0], loss=logging)]
    with pytest.raises(
        BenchError, match=r"batch.logs\['alpha'\] of the generator step of method 'kd' is a .*"
    ):
        trainer.iteration()
