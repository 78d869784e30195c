"""``--recompute``: the same updates with less kept for the backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from bench.errors import UsageError
from bench.plugin import Adam, Step
from bench.training.execution import Execution
from bench.training.parts import parts_of
from bench.training.recompute import blocks_of, recomputed
from bench.training.trainer import Trainer
from tests.helpers.trainers import TRAINED, make_trainer


def tensors_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Networks, average, optimizers and random state."""
    return trainer.state()[0]


@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=lambda value: str(value))
def test_every_method_ends_with_the_same_weights_and_ledger(method, settings):
    """To the bit: the same operations are carried out on the same numbers, dropout's among them."""
    usual, again = (make_trainer(method, batch=16, dropout=0.1, **settings) for _ in range(2))
    again.execution.recompute = True
    for trainer in (usual, again):
        torch.manual_seed(1)
        for _ in range(3):
            trainer.iteration()
    for name, tensor in tensors_of(usual).items():
        assert torch.equal(tensor, tensors_of(again)[name]), name
    assert again.costs == usual.costs  # what is computed again is no cost of the method
    assert again.ledger.model_dump(exclude={"seconds"}) == usual.ledger.model_dump(exclude={"seconds"})


def test_a_batch_in_parts_ends_with_the_weights_of_parts():
    usual, again = (make_trainer("sid", batch=16, dropout=0.2) for _ in range(2))
    again.execution.recompute = True
    for trainer in (usual, again):
        trainer.execution.batch_gpu = 4
        assert len(parts_of(16, 4)) == 4
        torch.manual_seed(1)
        trainer.iteration()
    for name, tensor in tensors_of(usual).items():
        assert torch.equal(tensor, tensors_of(again)[name]), name


def test_only_the_inputs_of_blocks_are_kept():
    trainer = make_trainer("sid", batch=16)
    network = trainer.method.generator
    x = torch.randn(16, 1, 8, 8)

    def kept() -> int:
        """Bytes that the backward pass of the network needs, other than its weights."""
        weights = {p.data_ptr() for p in network.parameters()}
        storages: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in weights:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            network(x, torch.ones(16)).sum()
        return sum(storages.values())

    usual = kept()
    with recomputed([network]):
        fewer = kept()
    assert 0 < fewer < usual / 2  # of three blocks
    assert kept() == usual  # and nothing stays as it was within


def test_copies_that_are_made_within_compute_with_their_own_weights():
    network = make_trainer("sid", batch=16).method.generator
    with recomputed([network]):
        other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    x = torch.randn(2, 1, 8, 8)
    assert not torch.equal(network(x, 1.0), other(x, 1.0))
    assert not any("forward" in vars(module) for module in network.modules())


class Residual(nn.Module):
    """A network of a list of lists, and of a holder that is not called itself."""

    def __init__(self):
        super().__init__()
        self.lists = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2)]), nn.Sequential(nn.Linear(2, 2))])
        self.holder = nn.Module()
        self.holder.inner = nn.Linear(2, 2)
        self.embedding = nn.Sequential(nn.Linear(2, 2), nn.SiLU())
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        x = self.holder.inner(self.lists[1](self.lists[0][0](self.embedding(x))))
        return self.last(x)


def test_blocks_are_items_that_are_called():
    network = Residual()
    called = [
        network.lists[0][0],
        network.lists[1],
        network.holder.inner,
        *network.embedding,
    ]
    assert blocks_of(network) == called
    assert blocks_of(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    assert blocks_of(network.last) == []


def test_a_forward_that_a_block_had_of_its_own_is_kept():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    own = network[0].forward = lambda x: x + 1
    x = torch.zeros(1, 2)
    before = network(x)
    with recomputed([network]):
        assert torch.equal(network(x), before)
    assert network[0].forward is own


def test_a_trained_network_without_blocks_is_refused():
    network = nn.Linear(2, 2)
    step = Step("generator", network, lambda batch: batch.z, Adam(1e-3))
    with pytest.raises(
        UsageError, match="--recompute finds no block in the network of the generator step"
    ):
        Execution(recompute=True).prepare([network], [step])
