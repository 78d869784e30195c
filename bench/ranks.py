"""Several processes that share one evaluation, as ``torchrun`` starts them: which of them this is, and what they add up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Connect the processes for as long as this lasts: by NCCL on GPUs, by gloo on CPUs. Nothing with one process."""
    if world_size() == 1 or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    if distributed.is_initialized():
        for tensor in tensors:
            distributed.all_reduce(tensor)
