"""How the updates of a training are computed: in parts, as CUDA graphs, with activations computed again,
by compiled networks, or with their channels last.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bench.errors import UsageError
from bench.plugin.method import Step
from bench.runs.recipe import Request
from bench.training.parts import parts_of

Which = Literal["frozen", "trained", "all"]
"""Networks by whether a step trains them."""


@dataclass
class Execution:
    """How updates are computed. Nothing here changes a result, but for the rounding of other kernels."""

    batch_gpu: int | None = None
    """Images computed at once on one device; None is the whole batch."""
    capture: bool = False
    """Record updates as CUDA graphs."""
    recompute: bool = False
    """Compute the networks' blocks again in the backward pass."""
    compile: Which | None = None
    """Networks that torch.compile turns into fewer and larger kernels."""
    channels_last: Which | None = None
    """Networks whose weights lie with their channels last."""

    @classmethod
    def of(cls, request: Request, batch_gpu: int | None) -> "Execution":
        """Return what a request asks for, with the images at once settled. Raises UsageError for what does
        not go together.
        """
        chosen = cls(
            batch_gpu, request.capture, request.recompute, request.compile, request.channels_last
        )
        for other in ("recompute", "compile"):
            if chosen.capture and getattr(chosen, other):
                raise UsageError(f"--capture and --{other} do not go together; leave one of them out.")
        if chosen.recompute and chosen.compile:
            raise UsageError("--recompute and --compile do not go together; leave one of them out.")
        return chosen

    def require_possible(self, batch: int, together: int) -> None:
        """Raise UsageError for a batch that cannot be cut so, and for graphs of one that is cut."""
        parts = parts_of(batch, self.batch_gpu, together)
        if self.capture and len(parts[0]) < batch:
            raise UsageError("--capture records updates of a whole batch; leave it or --batch-gpu out.")

    def prepare(self, networks: Iterable[nn.Module], steps: Iterable[Step]) -> None:
        """Prepare the networks of a training, of which the steps train some."""
        trained = {module for step in steps for module in step.modules}
        every = {*networks, *trained}
        for network in _chosen(self.channels_last, every, trained):
            network.to(memory_format=torch.channels_last)
        for network in _chosen(self.compile, every, trained):
            # torch's own random functions, or dropout would draw other numbers than an eager network
            network.compile(options={"fallback_random": True})

    def measurable(self) -> AbstractContextManager[object]:
        """Let networks compute as they are written: the operations of compiled ones cannot be counted."""
        return torch.compiler.set_stance("force_eager") if self.compile else nullcontext()


def _chosen(
    which: Which | None, networks: set[nn.Module], trained: set[nn.Module]
) -> Iterator[nn.Module]:
    for network in networks if which else ():
        if which == "all" or (which == "trained") == (network in trained):
            yield network
