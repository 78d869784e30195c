"""How the updates of a training are computed: in parts, as CUDA graphs, with activations computed again,
by compiled networks, or with their channels last.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bench.errors import UsageError
from bench.plugin.method import Step
from bench.runs.record import Environment
from bench.training.parts import parts_of
from bench.training.recompute import blocks_of

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

    def describe(self, environment: Environment) -> None:
        """State in a run's environment how its updates are computed, so that they can be repeated."""
        environment.batch_gpu = self.batch_gpu
        environment.captured, environment.recomputed = self.capture, self.recompute
        environment.compiled, environment.channels_last = self.compile, self.channels_last

    def require_possible(self, batch: int, together: int) -> None:
        """Raise UsageError for a batch that cannot be cut so, and for graphs of one that is cut."""
        parts = parts_of(batch, self.batch_gpu, together)
        if self.capture and len(parts[0]) < batch:
            raise UsageError("--capture records updates of a whole batch; leave it or --batch-gpu out.")

    def prepare(
        self, networks: Iterable[nn.Module], steps: Sequence[Step], *, scaled: bool = False
    ) -> None:
        """Prepare the networks of a training, of which the steps train some. Raises UsageError for a trained
        network that has nothing to be computed again, and for an optimizer that no graph can hold where
        losses are ``scaled``.
        """
        trained = {module for step in steps for module in step.modules}
        every = {*networks, *trained}
        for step in steps:
            if self.capture and scaled and step.optimizer.rectified:
                raise UsageError(
                    f"--capture cannot record the {step.role} step: its optimizer, RAdam, looks at the "
                    "scale of the loss in fp16 and under --on-divergence skip; leave --capture out."
                )
            if self.recompute and not blocks_of(step.network):
                raise UsageError(
                    f"--recompute finds no block in the network of the {step.role} step, expected items of "
                    "an nn.ModuleList, nn.ModuleDict or nn.Sequential; leave it out."
                )
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
