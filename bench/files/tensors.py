"""Weights and training state as safetensors files with a JSON description; never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from bench.errors import BenchError, UsageError, one_line
from bench.files.atomic import cache_folder, replacing, sha256

_LARGEST_HEADER = 2**22
_META = "distill-bench"
"""The one metadata key, so that equal content gives equal bytes (the format does not order its keys)."""


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write named tensors and their description, atomically."""
    apart, seen = {}, set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        apart[name] = own.clone() if own.data_ptr() in seen else own  # the format refuses tied tensors
        seen.add(own.data_ptr())
    with replacing(path) as temporary:
        safetensors.torch.save_file(apart, temporary, {_META: json.dumps(meta, sort_keys=True)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Named tensors and their description. Raises UsageError if the file is missing or is not safetensors."""
    try:
        with path.open("rb") as start:
            if int.from_bytes(start.read(8), "little") > _LARGEST_HEADER:
                raise ValueError(f"its header is larger than {_LARGEST_HEADER:,} bytes")
        with safetensors.safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(_META, "{}"))
            if not isinstance(meta, dict):
                raise ValueError("its description is not a JSON object")
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise UsageError(f"the weights file {str(path)!r} does not exist; check the path.") from None
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"the weights file {str(path)!r} is not a safetensors file ({one_line(error) or type(error).__name__}); "
            "give one that this suite or safetensors wrote."
        ) from None


def load_weights(network: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Put weights into a network after checking that names, shapes and types are exactly its own, and all values finite.

    A network on the meta device takes the tensors themselves. Raises UsageError that says what does not fit.
    """
    wanted = network.state_dict()
    other = [n for n, t in wanted.items() if n in tensors and (tensors[n].shape, tensors[n].dtype) != (t.shape, t.dtype)]
    unfit = [
        ("lacks", [name for name in wanted if name not in tensors]),
        ("has too much", [name for name in tensors if name not in wanted]),
        ("has of another shape or type", [_difference(n, tensors[n], wanted[n]) for n in other]),
    ]
    if any(names for _, names in unfit):
        parts = [f"{what} {_some(names)}" for what, names in unfit if names]
        raise UsageError(f"{where} does not fit its network of {len(wanted)} tensors: it {'; it '.join(parts)}.")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UsageError(f"{where} has NaN or infinite values in {name!r}; the weights are damaged.")
    network.load_state_dict(tensors, assign=any(t.is_meta for t in wanted.values()))


def _difference(name: str, given: Tensor, wanted: Tensor) -> str:
    kinds = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (given, wanted)]
    return f"{name} ({kinds[0][:80]}, expected {kinds[1]})"


def _some(names: list[str]) -> str:
    return ", ".join(one_line(name, 120) for name in names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def converted(
    path: Path, read: Callable[[Path], tuple[dict[str, Tensor], dict[str, Any]]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file in a foreign format: by ``read`` the first time, then from a safetensors copy.

    The copy lies in the cache under the SHA-256 of the file, and is read back and compared before it is trusted; one that has
    been damaged since is made again.
    """
    copy = cache_folder() / "weights" / f"{sha256(path)}.safetensors"
    if copy.exists():
        with suppress(UsageError):
            tensors, meta = load_tensors(copy)
            if tensors_digest(tensors) == meta.get("tensors_sha256"):
                return tensors, meta
    tensors, meta = read(path)
    meta = meta | {"made_from": path.name, "tensors_sha256": tensors_digest(tensors)}
    try:
        save_tensors(copy, tensors, meta)
    except (OSError, safetensors.SafetensorError) as error:
        raise BenchError(
            f"cannot keep a copy of {str(path)!r} in the cache ({one_line(error)}); make room, or set BENCH_CACHE elsewhere."
        ) from None
    del tensors
    tensors, _ = load_tensors(copy)
    if tensors_digest(tensors) != meta["tensors_sha256"]:
        raise BenchError(f"the copy {str(copy)!r} does not read back as it was written; check the disk, or set BENCH_CACHE.")
    return tensors, meta


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of named tensors, whatever their order."""
    h = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        h.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        h.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return h.hexdigest()
