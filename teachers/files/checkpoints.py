"""Read weights files as data: pickles of EDM, SiD and SiDA, torch's state dicts, safetensors."""

from pathlib import Path
from typing import Any

from torch import Tensor

from bench.files.pickles import Malformed
from bench.files.state_dicts import StateDict, read_state_dict
from bench.files.tensors import is_safetensors, is_state_dict, open_weights
from bench.plugin import EDMPrecond, UsageError, converted, load_tensors, load_weights
from teachers.files.snapshots import read_snapshot
from teachers.networks.config import NetworkConfig


def read_checkpoint(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Read the recorded network arguments, or None if there are none, and the tensors by name.

    Raises UsageError for any other file.
    """
    data = open_weights(path)
    try:
        if is_state_dict(data):
            return None, read_state_dict(data)
        if bytes(data[:1]) == b"\x80":
            return read_snapshot(data)
    except Malformed as error:
        raise UsageError(
            f"the weights file {str(path)!r} is refused, and nothing in it was run: {error}; expected a "
            "snapshot of EDM, SiD or SiDA, a state dict of torch, or safetensors."
        ) from None
    if not is_safetensors(data):
        raise UsageError(
            f"the weights file {str(path)!r} is none of a snapshot of EDM, SiD or SiDA (.pkl), a "
            "state dict of torch (.pt, .pth, .bin) and safetensors; fetch it again."
        )
    tensors, meta = load_tensors(path)
    network = meta.get("network")
    return network if isinstance(network, dict) else None, tensors


def load_network(path: Path, default: NetworkConfig) -> tuple[EDMPrecond, NetworkConfig]:
    """Read the network in a file and its arguments, which are ``default`` if the file records none.

    A file in a foreign format is converted once to a safetensors file in the cache. Raises
    UsageError for a file without a network of EDM, or whose tensors are not exactly those of the
    network that it records.
    """
    where = f"the weights file {str(path)!r}"

    def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kwargs, tensors = read_checkpoint(path)
        config = default if kwargs is None else NetworkConfig.checked(kwargs, where)
        load_weights(config.on_meta(), tensors, where)  # before anything is kept
        recorded = (
            {} if kwargs is None else {"network": config.model_dump(mode="json", exclude_unset=True)}
        )
        return tensors, recorded | {"wrapper": getattr(tensors, "wrapper", "")}

    own = is_safetensors(open_weights(path))
    tensors, meta = load_tensors(path) if own else converted(path, read)
    config = NetworkConfig.checked(meta["network"], where) if "network" in meta else default
    network = config.on_meta()
    load_weights(network, StateDict(tensors, "" if own else meta.get("wrapper", "")), where)
    return network, config
