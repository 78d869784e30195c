"""The passes that each method's card states are what the ledger measures: their operations here, their number in
``bench check`` (tests/conformance).
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bench import registry
from bench.runs.card import Passes
from bench.settings import card
from bench.training.cost import measure
from methods.scd import derivative
from tests.helpers.trainers import make_trainer
from tests.methods.helpers import at_once

BATCH = 16
NOMINAL = {
    "sid": "11 F",
    "sida": "11 F + 3 E",
    "sid2a": "11 F + 3 E",
    "sim": "11 F",
    "diff-instruct": "9 F",
    "dmd": "11 F",
    "dmd2": "24 F + 32 E",
    "f-distill": "21 F + 9 E",
    "kd": "3 F",
    "pd": "5 F",
    "cd": "6 F",
    "ect": "4 F",
    "scd": "6 F",
}
"""Every trained method, and what an update of its generator costs by its paper."""


class CheapHead(nn.Module):
    """A discriminator's head that multiplies no matrices: the cards do not count the head."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.mean_ratios = nn.Buffer(torch.ones(10))

    def forward(self, features):
        return self.scale * features.mean((1, 2, 3))


def trainer_of(method):
    trainer = make_trainer(method, batch=BATCH, **at_once(method))
    if getattr(trainer.method, "head", None) is not None:
        trainer.method.head = CheapHead()
    if method == "scd":
        trainer.method.log_variance = CheapHead()
        trainer.method.log_variance.forward = lambda sigma: trainer.method.log_variance.scale * sigma
    trainer._prepare()
    if method == "sid2a":
        trainer._begin_next_stage()
    return trainer


def prices(network) -> Passes:
    """Operations of each kind of pass over one batch."""
    network = copy.deepcopy(network)

    def cost(frozen=False, image_gradient=False, backward=False, encoder=False):
        network.requires_grad_(not frozen)
        y = torch.randn(BATCH, 1, 8, 8, requires_grad=image_gradient)

        def run():
            out = network.features(y, 1.0) if encoder else network(y, 1.0)
            if backward:
                out.sum().backward()

        return measure(run, {}).flops

    forward, encoder = cost(frozen=True), cost(frozen=True, encoder=True)
    frozen = {"frozen": True, "image_gradient": True, "backward": True}
    y, direction = torch.randn(BATCH, 1, 8, 8), torch.randn(BATCH, 1, 8, 8)
    with torch.no_grad():
        jvp = measure(
            lambda: derivative(lambda y: network(y, y.mean((1, 2, 3)).exp()), (y,), (direction,)), {}
        ).flops
    return Passes(
        forward=forward,
        backward=cost(backward=True) - forward,
        input_backward=cost(**frozen) - forward,
        jvp=jvp,
        encoder_forward=encoder,
        encoder_backward=cost(backward=True, encoder=True) - encoder,
        encoder_input_backward=cost(**frozen, encoder=True) - encoder,
    )


@pytest.mark.parametrize("method", NOMINAL)
def test_an_iteration_costs_the_passes_of_the_card(method):
    trainer = trainer_of(method)
    price = prices(trainer.teacher.denoiser)
    stated = card(registry.methods.get(method)).passes
    trainer.iteration()
    expected = sum(
        getattr(p, kind) * getattr(price, kind) for p in stated.values() for kind in Passes.model_fields
    )
    assert trainer.ledger.flops == pytest.approx(expected, rel=0.02)
    if method != "sid2a":
        assert trainer.ledger.updates == 1


@pytest.mark.parametrize("method", NOMINAL)
def test_the_nominal_price_is_that_of_the_papers_passes(method):
    assert card(registry.methods.get(method)).price() == NOMINAL[method]


@pytest.mark.parametrize(
    ("method", "settings", "forward"),
    [
        ("dmd", {"regression": 0}, {"teacher": 1, "fake": 2, "generator": 1}),
        ("dmd2", {"gan": 0}, {"teacher": 1, "fake": 6, "generator": 5}),
        ("dmd2", {"gan": 0, "resample": [1.0]}, {"teacher": 1, "fake": 6, "generator": 10}),
        ("cd", {"solver": "euler"}, {"teacher": 1, "generator": 2}),
        ("cd", {"target_decay": 0.5}, {"teacher": 2, "generator": 1, "target": 1}),
    ],
)
def test_other_settings_take_other_passes(method, settings, forward):
    trainer = make_trainer(method, batch=BATCH, **settings)
    trainer.iteration()
    assert {
        role: passes.forward / BATCH for role, passes in trainer.ledger.evaluations.items()
    } == forward
