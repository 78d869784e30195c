"""A GPU that is not there: every method's arithmetic, without numbers, where no GPU is at hand."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """Let tensors lie on ``cuda``, with shapes and types and without values.

    As on a GPU, a tensor that was put on ``cuda`` reports ``cuda:0``, an operation on tensors of
    different devices fails, and so does pinning a tensor that is on a GPU already. What CUDA itself
    would do is left out: the backward pass, the clipping of its gradients, and the states of random
    generators; and so is a look at the values of real images.
    """
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(nn.Module, "to", _to)
        patch.setattr(Tensor, "pin_memory", _pin_memory)
        patch.setattr(Tensor, "backward", lambda self: None)
        patch.setattr("bench.training.trainer.sanitise", lambda *_: None)
        patch.setattr("bench.training.real_images.checked_images", lambda _, read, count: read)
        patch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
        yield torch.device("cuda")


def _to(module: nn.Module, device: torch.device) -> nn.Module:
    """Module.to, which cannot exchange real parameters for those without values."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                moved = torch.empty_like(parameter, device=device)
                part._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty_like(buffer, device=device)
    return module


def _pin_memory(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cpu":
        raise RuntimeError(f"cannot pin a tensor on {tensor.device}: only those of the host can be")
    return tensor
