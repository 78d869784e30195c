"""Sample grids: images as a padded PNG for people. Points in the plane are drawn as points."""

import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from bench.errors import UsageError
from bench.files.atomic import replacing
from bench.plugin.images import to_uint8

_SMALLEST = 64
"""Images below this many pixels a side are enlarged by a whole factor, without smoothing, so that
they can be seen.
"""


def save_samples(images: Tensor, path: Path, columns: int | None = None) -> None:
    """Write images (N, C, H, W) in [-1, 1], or points (N, 2, 1, 1), as one PNG."""
    picture = _points(images) if images.shape[1:] == (2, 1, 1) else _grid(images, columns)
    with replacing(path) as temporary:
        picture.save(temporary, format="png")


def _grid(images: Tensor, columns: int | None) -> Image.Image:
    """Rows of images with a margin between them; one or three channels, more are averaged to grey."""
    pixels = to_uint8(images.cpu()).permute(0, 2, 3, 1)
    pixels = (
        pixels
        if pixels.shape[-1] == 3
        else pixels.float().mean(-1, keepdim=True).to(torch.uint8).expand(-1, -1, -1, 3)
    )
    factor = max(1, math.ceil(_SMALLEST / pixels.shape[1]))
    pixels = pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    n, side = pixels.shape[:2]
    pad = max(2, side // 10)
    columns = columns or math.ceil(math.sqrt(n))
    canvas = Image.new(
        "RGB", (columns * (side + pad) + pad, math.ceil(n / columns) * (side + pad) + pad), "white"
    )
    for i, tile in enumerate(pixels):
        row, column = divmod(i, columns)
        canvas.paste(
            Image.fromarray(tile.numpy()), (pad + column * (side + pad), pad + row * (side + pad))
        )
    return canvas


def _points(points: Tensor, side: int = 320) -> Image.Image:
    """Points of the square [-1, 1] x [-1, 1], the second axis upwards."""
    canvas = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(canvas)
    for x, y in points.flatten(1).tolist():
        u, v = (x + 1) / 2 * side, (1 - y) / 2 * side
        draw.ellipse((u - 2, v - 2, u + 2, v + 2), fill="#1f5fa8")
    return canvas


def save_images(images: Tensor, folder: Path, first_seed: int) -> None:
    """Each image as a PNG of its own, named by its seed; images (N, C, H, W) in [-1, 1] of 1 or 3
    channels.
    """
    if images.shape[1] not in (1, 3):
        raise UsageError(
            f"what has {images.shape[1]} channels cannot be written one by one; name one file "
            "that ends in .png."
        )
    for seed, image in enumerate(to_uint8(images).cpu().permute(0, 2, 3, 1).numpy(), first_seed):
        picture = Image.fromarray(image.squeeze(2) if images.shape[1] == 1 else image)
        with replacing(folder / f"{seed:08d}.png") as temporary:
            picture.save(temporary, format="png")
