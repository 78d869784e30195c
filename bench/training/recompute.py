"""Activation checkpointing: the blocks of a network keep their inputs alone, and are computed again when a
gradient passes through them (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016).

It takes a third more time, and memory of a block in place of a network. The mathematics and its random
numbers are the same.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
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
    """Within the context, let the blocks of these networks be computed again for their gradients."""
    blocks = {block for network in networks for block in blocks_of(network)}
    before = {block: vars(block).get("forward") for block in blocks}
    for block in blocks:
        # A bound method in a partial: a deep copy of the block has one that is bound to the copy.
        block.forward = partial(_computed_again, block.forward)
    try:
        yield
    finally:
        for block, forward in before.items():
            del block.forward  # that of the class again
            if forward is not None:
                block.forward = forward


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the items of a network's outermost lists, dictionaries and sequences of modules, as the encoder
    and the decoder of a U-Net are written.

    An item that only holds others, as a list of lists does, is not called itself, and gives its own items.
    """
    holds = isinstance(network, nn.Sequential) or not _is_called(network)
    blocks = []
    for child in network.children():
        blocks += [child] if holds and _is_called(child) else blocks_of(child)
    return blocks


def _is_called(module: nn.Module) -> bool:
    """True if a module has a forward of its own."""
    return "forward" in vars(module) or type(module).forward is not nn.Module.forward


def _computed_again(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Call a block so that it keeps its inputs alone."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    same, again = SameUnits(), _again.get()

    def within(*inputs: Any, **named: Any) -> Any:
        with same:  # dropout's numbers are drawn once
            return forward(*inputs, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), nullcontext() if again is None else again._computing()

    return checkpoint(within, *inputs, use_reentrant=False, context_fn=contexts, **named)
