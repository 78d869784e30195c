"""Read named tensors from a file that somebody else wrote: a state dict of torch, or safetensors."""

import mmap
import stat
from pathlib import Path

from torch import Tensor

from bench.errors import UsageError
from bench.files.pickles import Malformed
from bench.files.state_dicts import LEGACY, ZIP, read_state_dict
from bench.files.tensors import load_tensors

MOST_BYTES = 2**31
"""Largest weights file that is read; the largest that this suite knows has 1.2e9 bytes."""


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
    require_weights(path)
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def is_state_dict(data: memoryview) -> bool:
    """Tell whether a file begins as ``torch.save`` writes it, in its zip format or in the older one."""
    return bytes(data[: len(LEGACY)]) == LEGACY or bytes(data[: len(ZIP)]) == ZIP


def is_safetensors(data: memoryview | bytes) -> bool:
    """Tell whether a file begins as safetensors: with the length of a JSON text, and that text."""
    return len(data) > 8 and bytes(data[8:9]) == b"{"


def require_weights(path: Path) -> None:
    """Raise UsageError unless ``path`` is a readable file of a possible size; a pipe never ends."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()  # raises if it may not be read
    except OSError as error:
        raise UsageError(
            f"the weights file {str(path)!r} cannot be read ({error.strerror}); check the path."
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"the weights file {str(path)!r} is not a file; check the path.")
    if not 0 < status.st_size <= MOST_BYTES:
        raise UsageError(
            f"the weights file {str(path)!r} has {status.st_size:,} bytes, expected more than 0 "
            f"and at most {MOST_BYTES:,}; fetch it again."
        )
