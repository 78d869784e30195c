"""Read the CIFAR-10 python archive as data: pickles of numpy arrays in a gzipped tar."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.files.pickles import Call, Global, Malformed, parse
from bench.plugin import InMemory, UsageError
from teachers.datasets.bounded import read_gzip

BYTES, MEMBERS = 2**28, 100
"""Most bytes and members of the archive; the genuine one has 9 members and unpacks to 186 MB."""
SPLITS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_ALLOWED = _RECONSTRUCT | {("numpy", "ndarray"), ("numpy", "dtype")}


def cifar_archive(path: Path, *, labels: bool = True, split: str = "train") -> InMemory:
    """Read the images of ``cifar-10-python.tar.gz``, 3x32x32, in the order of its batches, with classes.

    Nothing is unpacked to disk and no pickle is executed. Raises UsageError for a file of any other
    content.
    """
    members = _members(read_gzip(path, BYTES), path)
    missing = [name for name in SPLITS[split] if name not in members]
    if missing:
        raise UsageError(
            f"{str(path)!r} lacks {', '.join(missing)}; expected the CIFAR-10 python archive."
        )
    batches = [_batch(members[name], f"{name} of {str(path)!r}") for name in SPLITS[split]]
    pixels = torch.from_numpy(np.concatenate([pixels for pixels, _ in batches]))
    return InMemory(
        pixels, torch.tensor([c for _, classes in batches for c in classes]) if labels else None
    )


def _members(archive: bytearray, path: Path) -> dict[str, memoryview]:
    """Return the contents of all regular files in a tar, by the last part of their names."""
    files: dict[str, memoryview] = {}
    view, end = memoryview(archive), 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for number, member in enumerate(tar, 1):
                if number > MEMBERS:
                    raise tarfile.ReadError(
                        f"it has more than {MEMBERS} members, where the genuine one has 9"
                    )
                first, last = member.offset_data, member.offset_data + member.size
                name = member.name.rpartition("/")[2]
                if (
                    first < end
                    or not first <= last <= len(archive)
                    or (name in files and member.isreg())
                ):
                    raise tarfile.ReadError(f"the entry {name[:100]!r} is cut off or there twice")
                end = last
                if member.isreg():
                    files[name] = view[first:last]
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{str(path)!r} is not a sound tar ({error}); expected the CIFAR-10 python archive."
        ) from None
    return files


def _batch(content: memoryview, where: str) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Return the images, uint8 (N, 3, 32, 32), and the classes of a batch."""
    try:
        batch, _ = parse(content, _ALLOWED)
    except Malformed as error:
        raise UsageError(
            f"{where} is not a batch of CIFAR-10: {error}; get the archive again."
        ) from None
    fields = {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else {}
    pixels, classes = _bytes_of_array(fields.get("data")), fields.get("labels")
    if (
        pixels is None
        or not isinstance(classes, list)
        or not all(type(c) is int and 0 <= c < 10 for c in classes)
    ):
        raise UsageError(
            f"{where} is not a batch of CIFAR-10: expected 'data' of N x 3072 bytes and 'labels', N classes."
        )
    if not 0 < len(classes) == len(pixels) / 3072:
        raise UsageError(
            f"{where} has {len(classes):,} labels and {len(pixels):,} bytes of images, expected "
            "3072 for each."
        )
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 3, 32, 32), classes


def _bytes_of_array(node: Any) -> bytes | memoryview | None:
    """Return the bytes of a pickled uint8 numpy array (N, 3072) in C order, or None for anything else.

    Its state is (version, shape, dtype, whether in Fortran order, bytes).
    """
    match node:
        case Call(
            function=Global(module=module, name=name),
            state=(
                1,
                (int(count), 3072),
                Call(function=Global("numpy", "dtype"), args=("u1" | b"u1", *_)),
                False,
                content,
            ),
        ) if (
            (module, name) in _RECONSTRUCT
            and isinstance(content, bytes | memoryview)
            and len(content) == count * 3072
        ):
            return content
    return None


def _text(key: Any) -> Any:
    return key.decode("latin1") if isinstance(key, bytes) else key
