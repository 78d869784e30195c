"""Several processes that share one piece of work, as ``torchrun`` starts them: which this is, and
what they add up.

How many there are and which one prints is known without torch, which a command that only answers
does not import.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from bench.errors import BenchError, UsageError, one_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PATIENCE = timedelta(hours=2)
"""Longest wait of one process for the others, which may be making a teacher's pairs. A process that dies
ends the wait at once.
"""


def rank() -> int:
    """Return the number of this process among all of them, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return the number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Return how many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Tell whether this process is the one that prints and writes."""
    return rank() == 0


def require_one(what: str) -> None:
    """Raise UsageError if several processes were started for what one does."""
    if world_size() > 1:
        raise UsageError(f"{what} takes one process, {world_size()} were started; leave torchrun out.")


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes for as long as this lasts: by NCCL on GPUs, by gloo on CPUs. Nothing
    with one process, or within another such context.
    """
    if world_size() == 1:
        yield
        return
    import torch  # only where it is needed, as this module is for commands without torch too
    from torch import distributed  # as above

    if distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _among_all():
        distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _among_all() -> Iterator[None]:
    """Say of a failed exchange what it means: that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise BenchError(
            f"another process of this job has ended ({one_line(error, 200)}); see what it said, and give "
            "the same command again to continue."
        ) from error


def all_reduce(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, which must be connected by ``process_group``."""
    if world_size() == 1:
        return
    from torch import distributed  # as above

    with _among_all():
        for tensor in tensors:
            distributed.all_reduce(tensor)


def all_reduce_at_once(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by their sums over all processes, in one message."""
    if world_size() == 1:
        return
    import torch  # as above

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    all_reduce([flat])
    pieces = flat.split([tensor.numel() for tensor in tensors])
    shaped = [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
    torch._foreach_copy_(list(tensors), shaped)


def all_gather(tensor: Tensor) -> Tensor:
    """Return the equally shaped tensors of all processes one after another, in the order of their ranks."""
    if world_size() == 1:
        return tensor
    import torch  # as above
    from torch import distributed  # as above

    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    with _among_all():
        distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def largest(*numbers: float) -> list[float]:
    """Return for each number the largest that a process has. They are the host's: no GPU is waited for."""
    if world_size() == 1:
        return list(numbers)
    import torch  # as above
    from torch import distributed  # as above

    agreed = torch.tensor(numbers, dtype=torch.float64)
    with _among_all():
        distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
    return [float(number) for number in agreed.tolist()]


def of_main(numbers: Sequence[float]) -> list[float]:
    """Return the main process's numbers, of which those of others may differ in their last bits."""
    if world_size() == 1:
        return list(numbers)
    import torch  # as above
    from torch import distributed  # as above

    agreed = torch.tensor(numbers, dtype=torch.float64)
    with _among_all():
        distributed.broadcast(agreed, 0)
    return [float(number) for number in agreed.tolist()]


def wait_for_all() -> None:
    """Return once every process has come here, so that what the main one wrote before is there."""
    largest(0.0)
