"""Weights and training state as safetensors files with a JSON description; never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.files import write_atomic

_META = "distill-bench"
"""The one metadata key, so that equal content gives equal bytes (the format does not order its keys)."""


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write named tensors and their description, atomically."""
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}  # apart, even if tied
    write_atomic(path, safetensors.torch.save(tensors, {_META: json.dumps(meta, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Named tensors and their description. Raises UsageError if the file is missing or is not safetensors."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(_META, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise UsageError(f"the weights file {str(path)!r} does not exist; check the path.") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UsageError(
            f"the weights file {str(path)!r} is not a safetensors file ({error}); give one that this suite or safetensors wrote."
        ) from None


def load_weights(network: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Put weights into a network after checking that names and shapes are exactly its own. Raises UsageError otherwise."""
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise UsageError(f"{where} lacks the tensor {name!r}; expected {len(wanted)} tensors of {type(network).__name__}.")
        if tensors[name].shape != tensor.shape:
            raise UsageError(
                f"{where} has {name!r} of shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}; "
                "it belongs to another network."
            )
        if not tensors[name].isfinite().all():
            raise UsageError(f"{where} has NaN or infinite values in {name!r}; the weights are damaged.")
    extra = sorted(tensors.keys() - wanted.keys())
    if extra:
        raise UsageError(f"{where} has {len(extra)} tensors too many, such as {extra[0]!r}; it belongs to another network.")
    network.load_state_dict(tensors)
