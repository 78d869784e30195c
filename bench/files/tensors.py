"""Named tensors in files: the suite's own, as safetensors with a description in JSON, and those that
somebody else wrote, of which nothing is ever run.
"""

import errno
import hashlib
import json
import mmap
import sys
from collections.abc import Callable, Set
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from bench import distributed
from bench.errors import BenchError, UsageError, few, one_line
from bench.files.atomic import cache_folder, replacing, require_readable, sha256
from bench.files.pickles import Malformed
from bench.files.state_dicts import LEGACY, ZIP, read_state_dict

MOST_BYTES = 2**31
"""Largest weights file that is read; the largest that this suite knows has 1.2e9 bytes."""
WRAPPED = ("module.", "_orig_mod.", "unet.")
"""What DistributedDataParallel, torch.compile and a pipeline put before every name."""
HALVES = (torch.float16, torch.bfloat16)
_LARGEST_HEADER = 2**22
_SEAL = "seal"
_META = "distill-bench"
"""The only metadata key: the format does not order keys, and equal content must give equal bytes."""


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write named tensors and their description in one step."""
    apart, seen = {}, set()
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        apart[name] = values.clone() if values.data_ptr() in seen else values  # tied tensors are refused
        seen.add(values.data_ptr())
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(apart, temporary, {_META: json.dumps(meta, sort_keys=True)})
        except safetensors.SafetensorError as error:  # which is how it tells of a full disk
            raise OSError(errno.EIO, one_line(error), str(path)) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read named tensors and their description.

    Raises UsageError if the file is missing, of another format, or not as it was sealed.
    """
    tensors, meta = _read(path)
    if _SEAL in meta:
        _break_seal(path, tensors, meta)
    return tensors, meta


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if path.exists():
        require_readable(path, f"the weights file {str(path)!r}")
    try:
        with path.open("rb") as start:
            beginning = start.read(8)
        if is_state_dict(memoryview(beginning)):
            raise ValueError("it begins as a file of torch.save does")
        if int.from_bytes(beginning, "little") > _LARGEST_HEADER:
            raise ValueError(f"its header is larger than {_LARGEST_HEADER:,} bytes")
        with safetensors.safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(_META, "{}"))
            if not isinstance(meta, dict):
                raise ValueError("its description is not a JSON object")
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise UsageError(f"the weights file {str(path)!r} does not exist; check the path.") from None
    except (
        safetensors.SafetensorError,
        OSError,
        ValueError,
        TypeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise UsageError(
            f"the weights file {str(path)!r} is not a safetensors file "
            f"({one_line(error) or type(error).__name__}); give one that this suite or safetensors "
            "wrote."
        ) from None


def save_sealed(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write named tensors and their description with a digest of both, by which any damage shows."""
    save_tensors(path, tensors, meta | {_SEAL: _digest(tensors, meta)})


def load_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_sealed`` wrote. Raises UsageError for a file that is not to the bit as it was."""
    tensors, meta = _read(path)
    _break_seal(path, tensors, meta)
    return tensors, meta


def _break_seal(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Take the digest out of a description. Raises UsageError for one that is not that of the content."""
    if meta.pop(_SEAL, None) != _digest(tensors, meta):
        raise UsageError(f"the file {str(path)!r} is damaged: its content is not that of its digest.")


def _digest(tensors: dict[str, Tensor], meta: dict[str, Any]) -> str:
    text = json.dumps(json.loads(json.dumps(meta)), sort_keys=True)  # as it will be read
    return hashlib.sha256(f"{tensors_digest(tensors)} {text}".encode()).hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name. Raises UsageError for a file of any other content.

    The tensors have not been compared with those of any network; see ``load_weights``.
    """
    data = open_weights(path)
    if is_safetensors(data):
        return load_tensors(path)[0]
    if not is_state_dict(data):
        raise UsageError(
            f"the weights file {str(path)!r} is neither a state dict of torch (.pt, .pth, .bin) "
            "nor safetensors."
        )
    try:
        return read_state_dict(data)
    except Malformed as error:
        raise UsageError(
            f"the weights file {str(path)!r} is refused, and nothing in it was run: {error}; "
            "fetch it again, or give another."
        ) from None


def open_weights(path: Path) -> memoryview:
    """Map a file into memory until its last view is gone.

    Raises UsageError for a path that cannot be a weights file.
    """
    what = f"the weights file {str(path)!r}"
    require_readable(path, what)
    if not 0 < (size := path.stat().st_size) <= MOST_BYTES:
        raise UsageError(
            f"{what} has {size:,} bytes, expected more than 0 and at most {MOST_BYTES:,}; fetch it again."
        )
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def is_state_dict(data: memoryview) -> bool:
    """Tell whether a file begins as ``torch.save`` writes it, in its zip format or in the older one."""
    return bytes(data[: len(LEGACY)]) == LEGACY or bytes(data[: len(ZIP)]) == ZIP


def is_safetensors(data: memoryview) -> bool:
    """Tell whether a file begins as safetensors: with the length of a JSON text, and that text."""
    return len(data) > 8 and bytes(data[8:9]) == b"{"


def load_weights(network: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load weights into a network if names, shapes and types are exactly its own and all finite.

    Names may have ``WRAPPED`` before them, all of them alike, and numbers may be of 16 bits: the user
    is told of either, and of a wrapper that the weights were found in. A network on the meta device
    takes the tensors themselves. ``where`` names the weights in messages. Raises UsageError that says
    what does not fit.
    """
    own = network.state_dict()
    wrapper = getattr(tensors, "wrapper", "")
    reading = [f"the network under {wrapper!r}"] if wrapper else []
    tensors, prefix = _unwrapped(tensors, own.keys())
    reading += [f"names without {prefix!r}"] if prefix else []
    halves = {n for n, t in tensors.items() if t.dtype in HALVES and _is_single(own.get(n))}
    reading += ["numbers of 16 bits as float32"] if halves else []
    tensors = {name: t.float() if name in halves else t for name, t in tensors.items()}
    both = own.keys() & tensors.keys()
    other = [n for n in own if n in both and _kind(tensors[n]) != _kind(own[n])]
    misfits = [
        ("lacks", [name for name in own if name not in tensors]),
        ("has too much", [name for name in tensors if name not in own]),
        ("has of another shape or type", [_difference(n, tensors[n], own[n]) for n in other]),
    ]
    if any(names for _, names in misfits):
        parts = [
            f"{what} {few((one_line(n, 120) for n in names), 2)}" for what, names in misfits if names
        ]
        raise UsageError(
            f"{where} does not fit its network of {len(own)} tensors: it {'; it '.join(parts)}."
        )
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UsageError(f"{where} has NaN or infinite values in {name!r}; the weights are damaged.")
    network.load_state_dict(tensors, assign=any(t.is_meta for t in own.values()))
    if reading:
        _tell(f"{where} is read so: {', '.join(reading)}.")


@cache
def _tell(sentence: str) -> None:
    """Tell the user, once, how a file was read."""
    if distributed.is_main():
        print(f"note: {sentence}", file=sys.stderr, flush=True)


def _unwrapped(tensors: dict[str, Tensor], own: Set[str]) -> tuple[dict[str, Tensor], str]:
    """Return the tensors without what wrappers put before all names, and that, if the names are ``own``
    then; otherwise the tensors as they are.
    """
    bare, prefix = tensors, ""
    while bare.keys() != own:
        shared = [p for p in WRAPPED if bare and all(name.startswith(p) for name in bare)]
        if not shared:
            return tensors, ""
        bare = {name.removeprefix(shared[0]): tensor for name, tensor in bare.items()}
        prefix += shared[0]
    return bare, prefix


def _is_single(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dtype == torch.float32


def _difference(name: str, tensor: Tensor, expected: Tensor) -> str:
    return f"{name} ({_kind(tensor)[:80]}, expected {_kind(expected)})"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def converted(
    path: Path, read: Callable[[Path], tuple[dict[str, Tensor], dict[str, Any]]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file in a foreign format with ``read``, and from then on its copy in safetensors.

    Returns tensors by name and their description. The copy lies in the cache under the SHA-256 of
    the file and is read back and compared before it is trusted; a damaged copy is made again.
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
    except OSError as error:
        raise BenchError(
            f"cannot keep a copy of {str(path)!r} in the cache ({one_line(error)}); make room, or "
            "set BENCH_CACHE elsewhere."
        ) from None
    del tensors
    tensors, _ = load_tensors(copy)
    if tensors_digest(tensors) != meta["tensors_sha256"]:
        raise BenchError(
            f"the copy {str(copy)!r} does not read back as it was written; check the disk, or set "
            "BENCH_CACHE."
        )
    return tensors, meta


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of named tensors, in any order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
