"""Samples in files: a padded PNG for people, on which points of the plane are drawn as points; and all
images as they are, for other programs.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from bench.errors import UsageError
from bench.files.atomic import files_in, replacing, write_atomic
from bench.plugin.images import to_uint8

_SMALLEST = 64
"""Images below this many pixels a side are enlarged by a whole factor, without smoothing, so that
they can be seen.
"""


def save_samples(images: Tensor, path: Path, columns: int | None = None) -> None:
    """Write images (N, C, H, W) in [-1, 1], or points (N, 2, 1, 1), as one PNG."""
    with replacing(path) as temporary:
        picture_of(images, columns).save(temporary, format="png")


def picture_of(images: Tensor, columns: int | None = None) -> Image.Image:
    """Return images (N, C, H, W) in [-1, 1], or points (N, 2, 1, 1), as one picture.

    ``columns`` is the number of images in a row; by default they make a square.
    """
    return _points(images) if images.shape[1:] == (2, 1, 1) else _grid(images, columns)


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


def require_place(output: Path) -> None:
    """Raise UsageError for a file of a format that is not written, and for a folder that holds files:
    whoever measured it would measure them too.
    """
    suffix = output.suffix.lower()
    if suffix in _OTHERS:
        raise UsageError(
            f"images are not written as {output.suffix}; name a file that ends in .png, "
            f"{', '.join(WRITERS)}, or a folder."
        )
    one_file = suffix == ".png" or suffix in WRITERS
    if output.exists() and output.is_dir() == one_file:
        kinds = ("folder", "file") if one_file else ("file", "folder")
        raise UsageError(f"{str(output)!r} is a {kinds[0]}, expected a {kinds[1]}; give another name.")
    if output.is_dir() and files_in(output):
        raise UsageError(f"the folder {str(output)!r} holds other files; give another, or remove it.")


def save(images: Tensor, output: Path, first_seed: int, columns: int | None = None) -> None:
    """Write images (N, C, H, W) in [-1, 1] as the name says: ``.png`` is a picture of all, ``.npz``,
    ``.npy``, ``.pt`` and ``.zip`` are files that hold each, and any other name is a folder of PNGs.

    Raises UsageError for images of other than 1 or 3 channels, but as a picture.
    """
    suffix = output.suffix.lower()
    if suffix == ".png":
        save_samples(images, output, columns)
        return
    if images.shape[1] not in (1, 3):
        raise UsageError(
            f"what has {images.shape[1]} channels cannot be written one by one; name one file "
            "that ends in .png."
        )
    pixels = to_uint8(images).cpu()
    if suffix in WRITERS:
        with replacing(output) as temporary, temporary.open("wb") as file:
            WRITERS[suffix](pixels, file, first_seed)
    else:
        for name, content in _pngs(pixels, first_seed):
            write_atomic(output / name, content)


def _pngs(pixels: Tensor, first_seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield each image as a PNG, named by its seed."""
    for seed, image in enumerate(pixels.permute(0, 2, 3, 1).numpy(), first_seed):
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, format="png")
        yield f"{seed:08d}.png", file.getvalue()


def _write_zip(pixels: Tensor, file: IO[bytes], first_seed: int) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in _pngs(pixels, first_seed):
            archive.writestr(name, content)


_OTHERS = {*Image.registered_extensions(), ".pdf", ".svg", ".safetensors"} - {".png"}
"""Formats of pictures and of tensors in which no images are written."""
WRITERS: dict[str, Callable[[Tensor, IO[bytes], int], Any]] = {
    ".npz": lambda pixels, file, _: np.savez(file, pixels.permute(0, 2, 3, 1).numpy()),
    ".npy": lambda pixels, file, _: np.save(file, pixels.permute(0, 2, 3, 1).numpy()),
    ".pt": lambda pixels, file, _: torch.save(pixels, file),
    ".zip": _write_zip,
}
