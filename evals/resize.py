"""The resizes before Inception: image rows and columns, each multiplied by a small matrix, on the device of the images.

Images enlarged to 299 by one of these and by another differ by about 8 of 256 levels: each is a protocol of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Kernel = Callable[[int, int], Tensor]
"""Number of input pixels and of output pixels along one axis to the weights (outputs, inputs), float64; each row adds up to 1."""

BAND = 24
"""Output pixels computed together: few leave out most zeros of a large image's matrix, many make fewer and larger products."""


def tensorflow(inputs: int, outputs: int) -> Tensor:
    """Bilinear as in TensorFlow 1.x: output i lies at input ``i * inputs / outputs``, which is half a pixel off the centres.

    Not antialiased: a large image shrinks by leaving pixels out. torch-fidelity, EDM and OpenAI resize so.
    """
    return _bilinear(inputs, outputs, shift=0.0)


def half_pixel(inputs: int, outputs: int) -> Tensor:
    """Bilinear between the centres of the pixels, as torch with ``align_corners=False``; not antialiased, as by pytorch-fid."""
    return _bilinear(inputs, outputs, shift=0.5)


def clean(inputs: int, outputs: int) -> Tensor:
    """Bicubic as in PIL: Keys' kernel with a = -1/2, stretched over the input when that is larger. clean-fid."""
    scale = inputs / outputs
    centres = (torch.arange(outputs, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(inputs, dtype=torch.float64) + 0.5
    d = (pixels - centres).abs() / max(scale, 1.0)
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
    weights = torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)


def resize(images: Tensor, kernel: Kernel, size: int = 299) -> Tensor:
    """Images (N, C, H, W) of 256 levels to float32 (N, C, size, size) in [0, 255], not rounded to levels."""
    n, channels, height, width = images.shape
    planes = images.reshape(n * channels, height, width).float()
    with _without_tf32():
        transposed = _multiply(_bands(kernel, width, size, images.device), planes.mT)
        resized = _multiply(_bands(kernel, height, size, images.device), transposed.mT)
    return resized.clamp_(0, 255).view(n, channels, size, size)


def _bilinear(inputs: int, outputs: int, shift: float) -> Tensor:
    """Linear interpolation at ``(i + shift) * inputs / outputs - shift``, and the outermost pixel beyond it.

    Positions are rounded to float32 once, as by TensorFlow and most of torch's kernels: exact ones would change a large image by
    0.01 of a level. (torch's kernel for several CPU threads rounds twice, and differs from its others by 0.001.)
    """
    scale = (torch.tensor(inputs, dtype=torch.float32) / outputs).double()
    positions = ((torch.arange(outputs, dtype=torch.float64) + shift) * scale - shift).float().double().clamp(0, inputs - 1)
    return (1 - (positions[:, None] - torch.arange(inputs)).abs()).clamp_min(0)


class Band(NamedTuple):
    """Some rows of a matrix, without the columns in which all of them are zero."""

    rows: slice
    columns: slice
    weights: Tensor


@lru_cache(maxsize=64)
def _bands(kernel: Kernel, inputs: int, outputs: int, device: torch.device) -> tuple[Band, ...]:
    """The matrix of a kernel in float32 on a device."""
    matrix = kernel(inputs, outputs)
    bands = []
    for first in range(0, outputs, BAND):
        rows = slice(first, min(first + BAND, outputs))
        used = matrix[rows].any(0).nonzero()
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append(Band(rows, columns, matrix[rows, columns].float().to(device)))
    return tuple(bands)


def _multiply(bands: tuple[Band, ...], planes: Tensor) -> Tensor:
    """The product (n, outputs, k) of a matrix with every one of the planes (n, inputs, k)."""
    n, _, k = planes.shape
    product = planes.new_empty(n, bands[-1].rows.stop, k)
    for rows, columns, weights in bands:
        torch.bmm(weights.expand(n, -1, -1), planes[:, columns], out=product[:, rows])
    return product


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Full float32, even where the network that follows computes in less: TF32 has 10 bits, an image has 8."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
