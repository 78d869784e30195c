"""Updates as CUDA graphs: the kernels of an update recorded once, and launched from then on as one.

A small network or a small batch leaves a GPU waiting for its host, which launches some 20,000 kernels an
update. A replayed update computes on the same memory every time, so that its batch is copied to where the
recorded one lay; random numbers go on as they would have.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError, one_line
from bench.plugin.batch import Batch

WARM_UPDATES = 3
"""Updates of each kind before one is recorded: libraries choose kernels, optimizers make their state."""

Key = tuple[str, Hashable]
"""The kind of an update, and the method's phase, within which its recorded kernels hold."""


class Graphs:
    """The recorded updates of a trainer, by kind."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.recorded: dict[Key, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self.batches: dict[str, Batch] = {}
        self.warm: Counter[str] = Counter()

    def place(self, slot: str, fresh: Batch) -> Batch:
        """Put a fresh batch where the first of its kind lay, and return that."""
        batch = self.batches.setdefault(slot, fresh)
        if batch is not fresh:
            for old, new in zip(_tensors(batch), _tensors(fresh), strict=True):
                old.copy_(new)
            batch.seen, batch.updates = fresh.seen, fresh.updates
            if not self.recorded:  # a recorded step reads what an earlier one has left in these
                batch.memo.clear()
        return batch

    def run(self, key: Key, compute: Callable[[], Tensor], unseeing: Batch | None = None) -> Tensor:
        """Carry out an update, which returns its loss: as it is at first, then recorded and replayed.

        While it is recorded, ``seen`` and ``updates`` of an ``unseeing`` batch are no numbers, as they would
        be the same for ever. Raises BenchError for an update that cannot be recorded.
        """
        if key not in self.recorded:
            if self.warm[key[0]] < WARM_UPDATES:
                self.warm[key[0]] += 1
                return compute()
            self.recorded = {k: v for k, v in self.recorded.items() if k[0] != key[0]}
            with _hidden(unseeing):
                self.recorded[key] = self._record(key[0], compute)
        graph, loss = self.recorded[key]
        graph.replay()
        return loss.clone()

    def _record(self, kind: str, compute: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # for the graph's own pool
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool):
                loss = compute()
        except (RuntimeError, TypeError) as error:
            raise BenchError(
                f"the {kind} update cannot be recorded as a CUDA graph ({one_line(error, 200)}); leave "
                "--capture out, or say in the method's phase() what its losses take from batch.seen or "
                "batch.updates; of the budget, batch.spent is a tensor and needs no word."
            ) from error
        return graph, loss


@contextmanager
def _hidden(batch: Any) -> Iterator[None]:
    """Let a batch's ``seen`` and ``updates`` be None, which neither add nor compare, in this context."""
    if batch is None:
        yield
        return
    numbers = batch.seen, batch.updates
    batch.seen = batch.updates = None
    try:
        yield
    finally:
        batch.seen, batch.updates = numbers


def _tensors(batch: Batch) -> list[Tensor]:
    given: list[Any] = [batch.z, batch.labels, batch.spent, *(batch.pairs or ()), *(batch.real or ())]
    return [tensor for tensor in given if tensor is not None]
