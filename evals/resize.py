"""The resizes before Inception: products of image rows and columns with small matrices.

Images enlarged to 299 pixels by two of these resizes differ by about 8 of 256 levels, so that each
is a protocol of its own.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bench.plugin import without_tf32

Kernel = Callable[[int, int], Tensor]
"""Maps the numbers of input and output pixels along an axis to weights (outputs, inputs) in
float64, whose rows add up to 1."""

BAND = 24
"""Number of output pixels computed together. Few leave out most zeros of a large image's matrix;
many make fewer and larger products."""


def tensorflow(inputs: int, outputs: int) -> Tensor:
    """Return the bilinear weights of TensorFlow 1.x, as used by torch-fidelity, EDM and OpenAI.

    Output i lies at input ``i * inputs / outputs``, half a pixel off the centres. Without
    antialiasing: a large image shrinks by leaving pixels out.
    """
    return _bilinear(inputs, outputs, shift=0.0)


def half_pixel(inputs: int, outputs: int) -> Tensor:
    """Return the bilinear weights of pytorch-fid, torch's without ``align_corners`` and antialiasing."""
    return _bilinear(inputs, outputs, shift=0.5)


def clean(inputs: int, outputs: int) -> Tensor:
    """Return the bicubic weights of PIL and clean-fid: Keys' a = -1/2, stretched for a larger input."""
    scale = inputs / outputs
    centres = (torch.arange(outputs, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(inputs, dtype=torch.float64) + 0.5
    d = (pixels - centres).abs() / max(scale, 1.0)
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
    weights = torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)


def resize(images: Tensor, kernel: Kernel, size: int = 299) -> Tensor:
    """Resize images (N, C, H, W) of 256 levels to float32 (N, C, size, size) in [0, 255]."""
    n, channels, height, width = images.shape
    planes = images.reshape(n * channels, height, width).float()
    with without_tf32():  # TF32 has 10 bits, an image 8
        transposed = _multiply(_bands(kernel, width, size, images.device), planes.mT)
        resized = _multiply(_bands(kernel, height, size, images.device), transposed.mT)
    return resized.clamp_(0, 255).view(n, channels, size, size)


def _bilinear(inputs: int, outputs: int, shift: float) -> Tensor:
    """Return the weights of linear interpolation at ``(i + shift) * inputs / outputs - shift``.

    Positions beyond the outermost pixels are moved onto these. Positions are rounded to float32
    once, as by TensorFlow and most of torch's kernels; exact ones would change a large image by
    0.01 of a level. (torch's kernel for several CPU threads rounds twice, and differs from its
    others by 0.001.)
    """
    scale = (torch.tensor(inputs, dtype=torch.float32) / outputs).double()
    positions = (
        ((torch.arange(outputs, dtype=torch.float64) + shift) * scale - shift)
        .float()
        .double()
        .clamp(0, inputs - 1)
    )
    return (1 - (positions[:, None] - torch.arange(inputs)).abs()).clamp_min(0)


class Band(NamedTuple):
    """Some rows of a matrix, without the columns that are zero in all of them."""

    rows: slice
    columns: slice
    weights: Tensor


@lru_cache(maxsize=64)
def _bands(kernel: Kernel, inputs: int, outputs: int, device: torch.device) -> tuple[Band, ...]:
    """Return the matrix of a kernel in float32 on a device, in bands of rows."""
    matrix = kernel(inputs, outputs)
    bands = []
    for first in range(0, outputs, BAND):
        rows = slice(first, min(first + BAND, outputs))
        used = matrix[rows].any(0).nonzero()
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append(Band(rows, columns, matrix[rows, columns].float().to(device)))
    return tuple(bands)


def _multiply(bands: tuple[Band, ...], planes: Tensor) -> Tensor:
    """Multiply a matrix with each of the planes (n, inputs, k), to (n, outputs, k)."""
    n, _, k = planes.shape
    product = planes.new_empty(n, bands[-1].rows.stop, k)
    for rows, columns, weights in bands:
        torch.bmm(weights.expand(n, -1, -1), planes[:, columns], out=product[:, rows])
    return product
