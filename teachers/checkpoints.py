"""Weights files of every kind, read as data: pickles of EDM, SiD and SiDA, torch's state dicts, safetensors."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.plugin import EDMPrecond, UsageError, converted, load_tensors, load_weights
from teachers.networks import NetworkConfig
from teachers.snapshots import read_snapshot

_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_TORCH_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def read_checkpoint(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """The recorded network arguments, if the file has them, and the tensors by name. Raises UsageError for any other file."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_TORCH_LEGACY))
    except OSError as error:
        raise UsageError(f"the weights file {str(path)!r} cannot be read ({error.strerror}); check the path.") from None
    if start.startswith((_TORCH_ZIP, _TORCH_LEGACY)):
        return None, _torch_state_dict(path)
    if start.startswith(_PICKLE):
        snapshot = read_snapshot(path)
        return snapshot.kwargs, snapshot.tensors
    tensors, meta = load_tensors(path)
    return meta.get("network"), tensors


def load_network(path: Path, usual: NetworkConfig) -> tuple[EDMPrecond, NetworkConfig]:
    """The network in a file, and its arguments: those that the file records, or else ``usual``.

    A file in a foreign format is converted once, to a safetensors file in the cache. Raises UsageError for a file that is
    not a network of EDM, or whose tensors are not exactly those of the network it records.
    """
    where = f"the weights file {str(path)!r}"

    def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kwargs, tensors = read_checkpoint(path)
        config = usual if kwargs is None else NetworkConfig.checked(kwargs, where)
        load_weights(config.on_meta(), tensors, where)  # nothing that does not fit is kept
        return tensors, {} if kwargs is None else {"network": config.model_dump(mode="json", exclude_unset=True)}

    tensors, meta = converted(path, read)
    config = NetworkConfig.checked(meta["network"], where) if "network" in meta else usual
    network = config.on_meta()
    load_weights(network, tensors, where)
    return network, config


def _torch_state_dict(path: Path) -> dict[str, Tensor]:
    """A flat dict of tensors, read by torch with ``weights_only``, which builds tensors and runs nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, TypeError, LookupError, AttributeError, EOFError) as error:
        reason = str(error).partition("\n")[0][:160]
        raise UsageError(
            f"the weights file {str(path)!r} is not a state dict that torch reads without running code ({reason}); "
            "save one with torch.save(network.state_dict(), FILE), or as safetensors."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise UsageError(f"the weights file {str(path)!r} does not hold a flat dict of named tensors; save a state dict.")
    return content
