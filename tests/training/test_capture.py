"""What is recorded once and replayed: on whose memory, with whose numbers, and when anew. The graphs
themselves take a GPU (test_gpu); here a replay computes again.
"""

import pytest
import torch

from bench.errors import BenchError
from bench.plugin import Batch
from bench.training.capture import WARM_UPDATES, Graphs


class Replayed:
    """Stands in for a CUDA graph."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def graphs(monkeypatch):
    """Graphs on a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Replayed)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, pool: torch.no_grad())
    return Graphs()


def test_an_update_is_computed_until_it_is_warm_then_recorded_once_and_replayed(graphs):
    computed = []

    def compute():
        computed.append(len(computed))
        return torch.tensor(1.0)

    losses = [graphs.run(("generator", 0), compute) for _ in range(WARM_UPDATES + 4)]
    assert len(computed) == WARM_UPDATES + 1
    assert graphs.recorded["generator", 0][0].replays == 4
    assert len({loss.data_ptr() for loss in losses[WARM_UPDATES:]}) == 4  # none is overwritten later
    graphs.run(("generator", 1), compute)  # another phase: recorded anew, without warming
    assert len(computed) == WARM_UPDATES + 2
    assert list(graphs.recorded) == [("generator", 1)]
    graphs.run(("fake", 0), compute)  # another kind warms by itself
    assert list(graphs.recorded) == [("generator", 1)]


def test_every_batch_of_a_kind_lies_where_the_first_lay(graphs):
    first = Batch(torch.zeros(2, 1), torch.zeros(2, 3), real=(torch.zeros(2, 1), None), seen=0)
    first.memo["x"] = torch.ones(1)
    assert graphs.place("fake", first) is first
    second = Batch(
        torch.ones(2, 1),
        torch.ones(2, 3),
        real=(torch.full((2, 1), 5.0), None),
        seen=64,
        updates=2,
        spent=torch.tensor(0.5),
    )
    assert graphs.place("fake", second) is first
    assert torch.equal(first.z, second.z)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.real[0], second.real[0])
    assert (first.seen, first.updates) == (64, 2)
    assert first.spent == 0.5  # where a recorded loss reads it
    assert not first.memo  # of the update before
    graphs.recorded["generator", 0] = (Replayed(), torch.zeros(()))
    first.memo["x"] = torch.ones(1)
    graphs.place("fake", second)
    assert first.memo  # a recorded step reads it


@pytest.mark.parametrize(
    "uses",
    [
        lambda batch: batch.seen >= 16,
        lambda batch: batch.seen // 100,
        lambda batch: min(1.0, batch.seen / 100),
        lambda batch: batch.updates % 10,
    ],
)
def test_a_loss_that_takes_seen_unsaid_is_refused_and_not_recorded_with_one_value_for_ever(graphs, uses):
    batch = Batch(torch.zeros(2, 1), seen=32)

    def compute():
        uses(batch)
        return torch.zeros(())

    for _ in range(WARM_UPDATES):
        graphs.run(("generator", 0), compute, batch)
    with pytest.raises(BenchError, match=r"say in the method's phase\(\) what its losses take"):
        graphs.run(("generator", 0), compute, batch)
    assert batch.seen == 32
    graphs.run(("generator", 0), compute)  # of a method that says so
    assert ("generator", 0) in graphs.recorded
