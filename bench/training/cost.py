"""Counting what one update costs: floating-point operations, and the passes through each network."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.runs.budget import UpdateCost
from bench.training.recompute import Again


def measure(update: Callable[[], None], roles: Mapping[str, nn.Module]) -> UpdateCost:
    """Run ``update`` once under torch's FLOP counter, counting the passes through the networks of
    each role.
    """
    passes = {role: [0, 0] for role in roles}

    def forward(role: str, network: nn.Module, inputs: Any, result: Any) -> None:
        # Of several outputs the images come first, features after them.
        output = result[0] if isinstance(result, tuple) else result
        count = len(output)
        passes[role][0] += count
        if output.requires_grad:
            output.register_hook(partial(backward, role, count))

    def backward(role: str, count: int, gradient: Any) -> None:
        passes[role][1] += count

    with ExitStack() as hooks:
        for role, network in roles.items():
            hooks.enter_context(network.register_forward_hook(partial(forward, role)))
        again = Again()
        with again.counted(), FlopCounterMode(display=False) as counter:
            update()
    return UpdateCost(
        counter.get_total_flops() - again.flops,
        {role: (f, b) for role, (f, b) in passes.items() if f or b},
    )
