"""Counting what one update costs: floating-point operations, and the passes through each network."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.runs.budget import UpdateCost


def measure(update: Callable[[], None], roles: Mapping[str, nn.Module]) -> UpdateCost:
    """Run ``update`` once under torch's FLOP counter, counting the passes through the networks of
    each role.
    """
    with _counted_passes(roles) as passes, FlopCounterMode(display=False) as counter:
        update()
    return UpdateCost(
        counter.get_total_flops(), {role: (f, b) for role, (f, b) in passes.items() if f or b}
    )


@contextmanager
def _counted_passes(roles: Mapping[str, nn.Module]) -> Iterator[dict[str, list[int]]]:
    passes = {role: [0, 0] for role in roles}

    def count_passes(role: str) -> Callable[[nn.Module, Any, Any], None]:
        def forward(network: nn.Module, inputs: Any, result: Any) -> None:
            # Of several outputs the images come first, features after them.
            output = result[0] if isinstance(result, tuple) else result
            count = len(output)
            passes[role][0] += count
            if output.requires_grad:
                output.register_hook(lambda gradient: backward(count))

        def backward(count: int) -> None:
            passes[role][1] += count

        return forward

    handles = [network.register_forward_hook(count_passes(role)) for role, network in roles.items()]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
