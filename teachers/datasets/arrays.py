"""Read images that lie in one array, as samples are exchanged: ``.npz``, ``.npy`` and ``.pt``."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.files.npz import read_npz_images
from bench.files.pickles import Malformed
from bench.files.state_dicts import read_tensor
from bench.files.tensors import open_weights
from bench.plugin import InMemory, UsageError, one_line

NPY = b"\x93NUMPY"
"""Bytes that an ``.npy`` file begins with."""


def npz_images(path: Path) -> InMemory:
    """Read the samples of an ``.npz`` file: ``arr_0``, uint8 (N, R, R, C), as guided-diffusion writes it.

    Raises UsageError for anything else, and for a file of statistics, which may hold some of its images.
    """
    return InMemory(read_npz_images(path))


def npy_images(path: Path) -> InMemory:
    """Read the images of an ``.npy`` file, uint8 (N, R, R, C), (N, C, R, R) or (N, R, R)."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader of headers raises some ten types
        why = one_line(error, 200) or type(error).__name__
        raise UsageError(
            f"the file {str(path)!r} is no sound .npy file ({why}); make it again."
        ) from None
    if array.dtype != np.uint8:
        raise UsageError(_expected(path, f"{array.dtype} {array.shape}"))
    return InMemory(_channels_first(torch.from_numpy(np.array(array)), path))


def pt_images(path: Path) -> InMemory:
    """Read the images of a file that ``torch.save`` made of one uint8 tensor; nothing in it is run.

    Raises UsageError for anything else.
    """
    try:
        tensor = read_tensor(open_weights(path))
    except Malformed as error:
        raise UsageError(f"the file {str(path)!r} holds no tensor of images: {error}.") from None
    return InMemory(_channels_first(tensor.clone(), path))


def _channels_first(images: Tensor, path: Path) -> Tensor:
    """Images (N, C, R, R) of 1 or 3 channels, from either place of the channels, or without any."""
    given = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    n, channels, height, width = images.shape if images.ndim == 4 else (0, 0, 0, 1)
    if images.dtype != torch.uint8 or not n * height or channels not in (1, 3) or height != width:
        raise UsageError(_expected(path, given))
    return images


def _expected(path: Path, given: str) -> str:
    return (
        f"the array in {str(path)!r} is {given}, expected square images of 1 or 3 channels in uint8, such "
        "as (N, R, R, 3); round and save them so."
    )
