"""Budgets as people write them, evaluation points, and the ledger against passes counted by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench import registry
from bench.errors import UsageError
from bench.files.tensors import load_tensors, save_tensors
from bench.plugin import ImageSpec, Teacher
from bench.plugin.diffusion import EDMPrecond, NoiseLevels
from bench.plugin.requirement import TeacherPairs
from bench.plugin.sampler import Sampler
from bench.runs.budget import AXES, Budget, Passes
from bench.settings import choose_settings
from bench.training.pairs import PairStream, teacher_pairs
from bench.training.trainer import Trainer
from teachers.digits import EDMDigits
from tests.helpers.trainers import make_trainer


@pytest.mark.parametrize(
    ("text", "axis", "amount"),
    [
        ("images=200k", "images", 2e5),
        ("updates=10", "updates", 10),
        ("flops=3e15", "flops", 3e15),
        ("seconds=0.5", "seconds", 0.5),
        ("images=117.6M", "images", 117.6e6),
        ("flops=2T", "flops", 2e12),
    ],
)
def test_budgets_are_read_as_written(text, axis, amount):
    budget = Budget.parse(text)
    assert (budget.axis, budget.amount) == (axis, pytest.approx(amount))
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("200k", "not of the form"),
        ("image=200k", "did you mean 'images'"),
        ("images=0", "above zero"),
        ("images=-5", "above zero"),
        ("images=many", "above zero"),
        ("images=1e400", "above zero"),
        ("images=1.2.3", "above zero"),
        ("images=nan", "above zero"),
        ("images=", "above zero"),
    ],
)
def test_bad_budgets_are_refused_in_a_sentence(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        Budget.parse(text)


@given(axis=st.sampled_from(sorted(AXES)), amount=st.floats(1, 1e18), count=st.integers(2, 20))
def test_points_start_at_zero_end_at_the_budget_and_are_evenly_spaced_in_the_logarithm(
    axis, amount, count
):
    points = Budget(axis, amount).points(count)
    assert points[0] == 0
    assert points[-1] == pytest.approx(amount, abs=1)
    assert points == sorted(set(points))
    assert len(points) <= count
    if axis in ("flops", "seconds") and count > 3:
        ratios = [b / a for a, b in itertools.pairwise(points[1:])]
        assert max(ratios) == pytest.approx(min(ratios), rel=1e-6)


class Deep(nn.Module):
    """Eighty square layers: so deep that the first one's missing input gradient does not count."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(64, 64) for _ in range(80)])

    def forward(self, x, c_noise, labels, augment_labels):
        return self.layers(x.flatten(1)).view_as(x) * 0.1


class DeepTeacher(Teacher):
    image_spec, noise, steps = ImageSpec(1, 8), NoiseLevels(), 3
    dataset, protocol = "digits", "digits-5k"

    def load(self, path: Path | None) -> nn.Module:
        return EDMPrecond(Deep())


def flops_of(call) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("method", "settings", "total", "passes"),
    [
        ("sid", {}, 11, {"generator": (2, 1), "fake": (2, 2), "teacher": (1, 1)}),
        ("diff-instruct", {}, 9, {"generator": (2, 1), "fake": (2, 1), "teacher": (1, 0)}),
        ("dmd", {"regression": 0}, 8, {"generator": (1, 1), "fake": (2, 1), "teacher": (1, 0)}),
        (
            "dmd",
            {"regression": 1, "pairs": 20, "pair_steps": 3},
            11,
            {"generator": (2, 2), "fake": (2, 1), "teacher": (1, 0)},
        ),
    ],
)
def test_an_update_costs_the_passes_counted_by_hand(method, settings, total, passes):
    """F is a forward; a full backward is 2 F, a backward to the input alone 1 F (method cards, cost)."""
    batch, updates = 16, 3
    teacher, cls = DeepTeacher(), registry.methods.get(method)
    chosen = choose_settings(cls, "edm-digits", settings | {"batch": batch}).settings
    z = torch.randn(4, 1, 8, 8)
    pairs = (
        PairStream(z, z, None, flops=0, seconds=0.0) if chosen.model_dump().get("regression") else None
    )
    trainer = Trainer(
        cls(chosen, teacher), teacher, Budget("updates", updates), torch.device("cpu"), pairs
    )
    for _ in range(updates):
        trainer.iteration()
    forward = flops_of(lambda: teacher.denoiser(torch.randn(batch, 1, 8, 8), 1.0))
    assert forward == 2 * batch * 80 * 64 * 64
    assert trainer.ledger.flops / updates == pytest.approx(total * forward, rel=0.02)
    n = updates * batch
    assert trainer.ledger.evaluations == {
        role: Passes(forward=f * n, backward=b * n) for role, (f, b) in passes.items()
    }
    assert (trainer.ledger.images, trainer.ledger.updates) == (n, updates)


def test_flops_of_the_digits_update_are_the_sum_of_its_measured_passes():
    """Forward, full backward and input gradient measured apart; 5 + 2 + 2 of them make a SiD update."""
    trainer, batch = make_trainer("sid", batch=32), 32
    network = EDMDigits().denoiser
    x = torch.randn(batch, 1, 8, 8)

    def forward_backward(parameters: bool, inputs: bool) -> int:
        network.requires_grad_(parameters)
        y = x.clone().requires_grad_(inputs)
        return flops_of(lambda: network(y, torch.ones(batch)).sum().backward())

    forward = flops_of(lambda: network(x, torch.ones(batch)))
    full, to_input = forward_backward(True, False) - forward, forward_backward(False, True) - forward
    trainer.iteration()
    assert trainer.ledger.flops == 5 * forward + 2 * full + 2 * to_input
    assert full == pytest.approx(2 * forward, rel=0.1)
    assert to_input == pytest.approx(forward, rel=0.1)


def made(teacher, required) -> tuple[PairStream, list[int]]:
    """A teacher's pairs, and how many there were at each report on the way."""
    events = []
    pairs = teacher_pairs(teacher, required, torch.device("cpu"), events.append)
    return pairs, [event.done for event in events]


def test_pairs_are_made_once_and_their_cost_is_charged_to_every_user():
    teacher, wanted = EDMDigits(), TeacherPairs(count=60, steps=5)
    first, reports = made(teacher, wanted)
    assert reports == [60]
    again, reports = made(teacher, wanted)
    assert reports == []
    assert torch.equal(first.images, again.images)
    assert (first.flops, first.seconds) == (again.flops, again.seconds)
    forward = flops_of(lambda: teacher.denoiser(first.z, 1.0))
    assert first.flops == 9 * forward
    torch.testing.assert_close(teacher.sample(first.z, sampler=Sampler(5)), first.images)
    trainer = Trainer(
        make_trainer("dmd", batch=8).method, teacher, Budget("flops", 1e12), torch.device("cpu"), again
    )
    assert trainer.ledger.spent("flops") == first.flops == trainer.ledger.one_off.flops
    assert trainer.ledger.spent("images") == 0


def test_pairs_are_made_in_parts_and_a_missing_or_damaged_part_alone_is_made_again(monkeypatch):
    """So that making them continues where it was stopped; the pairs and their cost stay the same."""
    from bench.files.atomic import cache_folder
    from bench.training import pairs

    monkeypatch.setattr(pairs, "PART", 4)
    teacher, wanted = EDMDigits(), TeacherPairs(count=10, steps=2)
    first, progress = made(teacher, wanted)
    assert progress == [4, 8, 10]
    parts = sorted(cache_folder().glob("pairs/*/*.safetensors"))
    assert len(parts) == 3
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    content = bytearray(parts[1].read_bytes())
    content[-1] ^= 1  # a file that is still of the format
    parts[1].write_bytes(content)
    again, progress = made(teacher, wanted)
    assert progress == [4, 8]
    assert torch.equal(again.images, first.images)
    assert torch.equal(again.z, first.z)
    assert again.flops == first.flops
    parts[2].unlink()
    assert made(teacher, wanted)[1] == [10]
    tensors, meta = load_tensors(parts[0])
    save_tensors(parts[0], tensors, meta | {"flops": 1})  # the cost is digested too
    again, progress = made(teacher, wanted)
    assert progress == [4]
    assert again.flops == first.flops


def test_pairs_of_another_sampler_or_noise_law_are_other_pairs():
    class Quieter(EDMDigits):
        noise = NoiseLevels(sigma_max=20)

    usual, _ = made(EDMDigits(), TeacherPairs(10, 2))
    for teacher, wanted in ((Quieter(), TeacherPairs(10, 2)), (EDMDigits(), TeacherPairs(10, 3))):
        assert not torch.equal(made(teacher, wanted)[0].images, usual.images)
