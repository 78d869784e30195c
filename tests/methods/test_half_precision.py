"""Networks in 16 bits: what the score-difference methods' gradients keep of float32's."""

from __future__ import annotations

import copy

import pytest
import torch

from bench.errors import UsageError
from bench.plugin import Batch
from bench.runs.recipe import make_request
from bench.training.job import make_job
from bench.training.trainer import Trainer
from tests.helpers.trainers import make_trainer
from tests.methods.helpers import at_once

SCORE_DIFFERENCE = ["sid", "sida", "sid2a", "diff-instruct", "sim", "dmd", "dmd2", "f-distill"]


def trained(method):
    """A trainer after some updates, so that the scores differ, and a batch for its generator."""
    trainer = make_trainer(method, batch=64, budget="images=100k", **at_once(method))
    for _ in range(12):
        trainer.iteration()
    batch = trainer._fresh_batch()
    batch.seen = 10**6
    return trainer, batch


def gradient(trainer, batch, scale=2.0**14, autocast=None):
    """The generator's gradient as the engine makes it: the loss is scaled up before, the gradient
    down after.
    """
    step = next(s for s in trainer.steps if s.role == "generator")
    for other in trainer.steps:
        for module in other.modules:
            module.requires_grad_(module in step.modules)
    step.network.zero_grad()
    torch.manual_seed(3)
    with torch.autocast("cpu", autocast or torch.float16, enabled=autocast is not None):
        loss = step.loss(
            Batch(batch.z, batch.labels, batch.pairs, batch.real, seen=batch.seen)
        ).sum() / len(batch.z)
    (loss * scale).backward()
    assert loss.isfinite()
    return torch.cat([p.grad.flatten() for p in step.network.parameters() if p.grad is not None]) / scale


def in_half(trainer, half_type):
    for network in trainer.roles.values():
        network.half_type = half_type


@pytest.mark.parametrize("method", SCORE_DIFFERENCE)
def test_gradients_in_float16_point_where_those_of_float32_do(method):
    """Through the networks' own casts and through autocast alike, with the loss scaled as the
    engine scales it.
    """
    trainer, batch = trained(method)
    scale = 2.0**4 if method in ("sid", "sida", "sid2a") else 2.0**14  # which the engine finds by itself
    full = gradient(trainer, batch, scale)
    cast = gradient(trainer, batch, scale, autocast=torch.float16)
    in_half(trainer, torch.float16)
    half = gradient(trainer, batch, scale)
    for found in (half, cast):
        assert found.isfinite().all()
        assert torch.cosine_similarity(found, full, dim=0) > 0.98


def scaled(trainer: Trainer, **how) -> None:
    """Scale the losses as in float16, on a CPU."""
    for role in trainer.scales:
        trainer.scales[role] = torch.amp.GradScaler("cpu", **how)


def test_an_overflow_in_float16_skips_the_update_and_halves_the_scale():
    trainer = make_trainer("sid", batch=16)
    in_half(trainer, torch.float16)
    scaled(trainer, init_scale=2.0**40)
    before = [p.clone() for p in trainer.method.fake.parameters()]
    trainer.iteration()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.method.fake.parameters(), strict=True))
    assert trainer.scales["fake"].get_scale() == 2.0**39


def test_training_in_float16_goes_where_float32_goes():
    full = make_trainer("dmd", regression=0, batch=64, warmup_updates=0, lr=1e-4, fake_lr=1e-4)
    half = copy.deepcopy(full)
    in_half(half, torch.float16)
    scaled(half)
    start = torch.cat([p.flatten().clone() for p in full.method.fake.parameters()])
    moved = []
    for trainer in (full, half):
        torch.manual_seed(0)
        for _ in range(10):
            trainer.iteration()
        moved.append(torch.cat([p.flatten() for p in trainer.method.fake.parameters()]) - start)
    assert torch.cosine_similarity(moved[0], moved[1], dim=0) > 0.9


@pytest.mark.parametrize("half_type", [torch.float16, torch.bfloat16])
def test_scds_derivative_is_that_of_float32(half_type):
    """Torch has no forward derivative of every layer in 16 bits on a GPU."""
    trainer = make_trainer("scd", batch=8)
    x_t, own, flow = torch.randn(3, 8, 1, 8, 8)
    t = torch.linspace(0.1, 1.5, 8)
    expected = trainer.method.tangent(x_t, t, own, flow, 1.0, None)
    in_half(trainer, half_type)
    assert torch.equal(trainer.method.tangent(x_t, t, own, flow, 1.0, None), expected)
    assert trainer.method.generator.half_type == half_type


def test_the_loss_scale_is_part_of_a_checkpoint():
    trainer = make_trainer("sid", batch=8)
    scaled(trainer, init_scale=4.0, growth_interval=2)
    for _ in range(3):
        trainer.iteration()
    other = make_trainer("sid", batch=8)
    scaled(other)
    other.restore(*trainer.state())
    for role, scaler in other.scales.items():
        assert scaler.state_dict() == trainer.scales[role].state_dict()
        assert scaler.get_scale() == 8.0


@pytest.mark.parametrize("method", SCORE_DIFFERENCE)
def test_bfloat16_is_refused_for_score_differences_unless_it_is_forced(method):
    request = {"method": method, "teacher": "edm-digits"}
    with pytest.raises(
        UsageError, match="which bf16 rounds away; use --precision fp16 or tf32, or bf16-forced"
    ):
        make_job(make_request(**request, settings={"precision": "bf16"}))
    job = make_job(make_request(**request, settings={"precision": "bf16-forced"}))
    assert job.teacher.denoiser.half_type == torch.bfloat16


def test_bfloat16_is_no_question_for_a_regression():
    job = make_job(make_request(method="kd", teacher="edm-digits", settings={"precision": "bf16"}))
    assert job.teacher.denoiser.half_type == torch.bfloat16


@pytest.mark.parametrize("name", ["fp16", "tf32"])
def test_arithmetic_of_a_gpu_is_refused_on_a_cpu(name):
    with pytest.raises(UsageError, match=f"the precision '{name}' needs a GPU"):
        make_job(
            make_request(method="kd", teacher="edm-digits", settings={"precision": name}, device="cpu")
        )


def test_only_float16_scales_its_loss():
    trainer = make_trainer("sid", batch=8)
    assert not any(scaler.is_enabled() for scaler in trainer.scales.values())
    settings = trainer.settings.model_copy(update={"precision": "fp16"})
    trainer.method.settings = settings
    half = Trainer(trainer.method, trainer.teacher, trainer.budget, torch.device("cpu"))
    assert all(scaler.is_enabled() for scaler in half.scales.values())
