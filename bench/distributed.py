"""Several processes that share one evaluation, as ``torchrun`` starts them: which of them this is, and what they add up.

Who speaks is known without torch, which a command that only answers does not import.
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
    """The number of this process among those that are connected, from 0."""
    from torch import distributed

    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes are connected."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_initialized() else 1


def launched() -> int:
    """How many processes were started together, connected or not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def speaks() -> bool:
    """Whether this process is the one that prints and writes."""
    return os.environ.get("RANK", "0") == "0"


def require_one(what: str) -> None:
    """Raise UsageError if several processes were started for what one does."""
    if launched() > 1:
        raise UsageError(f"{what} takes one process, {launched()} were started; leave torchrun out.")


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Connect the processes for as long as this lasts: by NCCL on GPUs, by gloo on CPUs. Nothing with one process."""
    import torch
    from torch import distributed

    if launched() == 1 or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    from torch import distributed

    if distributed.is_initialized():
        for tensor in tensors:
            distributed.all_reduce(tensor)
