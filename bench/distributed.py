"""Several processes that share one piece of work, as ``torchrun`` starts them: which this is, and
what they add up.

How many there are and which one prints is known without torch, which a command that only answers
does not import.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
    with one process.
    """
    if world_size() == 1:
        yield
        return
    import torch  # only where it is needed, as this module is for commands without torch too
    from torch import distributed

    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def all_reduce(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, which must be connected by ``process_group``."""
    if world_size() == 1:
        return
    from torch import distributed  # as above

    for tensor in tensors:
        distributed.all_reduce(tensor)
