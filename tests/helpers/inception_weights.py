"""A file of weights with the layout of the published Inception file, and random values of a healthy
scale.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from evals.inception import inception_v3


def inception_tensors(*, counts: bool = True) -> dict[str, Tensor]:
    """Convolutions by kaiming_normal_, for the default ones shrink activations to 1e-8; ``counts``
    of batches or without them.
    """
    with torch.device("meta"):
        shapes = inception_v3().state_dict()
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for name, like in shapes.items():
        tensor = torch.empty(like.shape, dtype=like.dtype)
        if like.ndim == 4:
            nn.init.kaiming_normal_(tensor, generator=random)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(1000)
        elif name.endswith(("bn.weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=random)
        else:
            tensor.normal_(0, 0.1, generator=random)
        tensors[name] = tensor
    return {
        name: tensor
        for name, tensor in tensors.items()
        if counts or not name.endswith("num_batches_tracked")
    }


def write_inception(path: Path, *, counts: bool = True) -> Path:
    """Write them as ``torch.save`` does; 96 MB."""
    torch.save(inception_tensors(counts=counts), path)
    return path
