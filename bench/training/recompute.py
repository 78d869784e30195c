"""Activation checkpointing: the blocks of a network keep their inputs alone, and are computed again when a
gradient passes through them (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016).

It takes a third more time, and memory of a block in place of a network. The mathematics and its random
numbers are the same.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from bench.plugin import SameUnits

_again: ContextVar["Again | None"] = ContextVar("again", default=None)


class Again:
    """Counts the operations of what is computed again, which a measurement leaves out: they are none of a
    method's, but the price of memory.
    """

    def __init__(self) -> None:
        self.flops = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count those within the context."""
        token = _again.set(self)
        try:
            yield
        finally:
            _again.reset(token)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        counter = FlopCounterMode(display=False)
        try:
            with counter:
                yield
        finally:  # it ends by an exception of torch's once all that is needed is there
            self.flops += counter.get_total_flops()


@contextmanager
def recomputed(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Within the context, let the blocks of these networks be computed again for their gradients.

    Blocks are the items of a network's outermost lists and dictionaries of modules, as the encoder and the
    decoder of a U-Net are written.
    """
    blocks = {block for network in networks for block in _blocks(network)}
    for block in blocks:
        block.forward = _recomputing(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # that of the class again


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from child.children()
        else:
            yield from _blocks(child)


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **named)
        same, again = SameUnits(), _again.get()

        def within(*inputs: Any, **named: Any) -> Any:
            with same:  # dropout's numbers are drawn once
                return forward(*inputs, **named)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), nullcontext() if again is None else again._computing()

        return checkpoint(within, *inputs, use_reentrant=False, context_fn=contexts, **named)

    return run
