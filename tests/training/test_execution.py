"""Networks that are compiled or have their channels last: the same training, but for rounding."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from bench.errors import UsageError
from bench.plugin import Adam, Step
from bench.runs.recipe import make_request
from bench.training.execution import Execution
from bench.training.trainer import Trainer
from tests.helpers.trainers import CPU, make_trainer


def trained(execution: Execution, method: str = "sid", **settings) -> Trainer:
    """A trainer after three updates."""
    made = make_trainer(method, batch=16, dropout=0.1, **settings)
    trainer = Trainer(made.method, made.teacher, made.budget, CPU, made.pairs, made.real, execution)
    torch.manual_seed(1)
    for _ in range(3):
        trainer.iteration()
    return trainer


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_networks_train_as_they_do_one_operation_after_another():
    """Dropout's numbers among them; and operations are counted of the networks as they are written."""
    usual, compiled = (trained(Execution(compile=which), "kd") for which in (None, "trained"))
    assert compiled.method.generator._compiled_call_impl is not None
    assert usual.method.generator._compiled_call_impl is None
    assert compiled.costs == usual.costs
    for a, b in zip(
        usual.method.generator.parameters(), compiled.method.generator.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", ["frozen", "trained", "all"])
def test_channels_are_last_of_the_networks_that_were_asked_for(which):
    teacher, fake = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 3, 3)) for _ in range(2))
    x = torch.randn(2, 3, 8, 8)
    before = fake(x)
    step = Step("fake", fake, lambda batch: batch.z, Adam(1e-3))
    Execution(channels_last=which).prepare([teacher, fake], [step])
    for network, is_trained in ((teacher, False), (fake, True)):
        weights = [p for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
        last = all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
        assert last == (which == "all" or is_trained == (which == "trained"))
    torch.testing.assert_close(fake(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"capture": True, "recompute": True}, "--capture and --recompute do not go together"),
        ({"capture": True, "compile": "all"}, "--capture and --compile do not go together"),
        ({"recompute": True, "compile": "frozen"}, "--recompute and --compile do not go together"),
    ],
)
def test_what_does_not_go_together_is_said(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_request(method="sid", teacher="edm-digits", **options)


def test_an_optimizer_that_looks_at_the_scale_is_not_recorded():
    network = nn.Linear(2, 2)
    step = Step("generator", network, lambda batch: batch.z, Adam(1e-3, rectified=True))
    Execution(capture=True).prepare([network], [step])
    with pytest.raises(UsageError, match="RAdam, looks at the scale"):
        Execution(capture=True).prepare([network], [step], scaled=True)
