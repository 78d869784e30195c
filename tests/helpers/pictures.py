"""Folders of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.plugin import open_dataset


def digits_folder(folder: Path, count: int = 120, channels: int = 1) -> str:
    """The first digits of the data set, as PNG files in a new folder."""
    folder.mkdir(parents=True)
    for number, image in enumerate(open_dataset("digits").read(range(count))[0]):
        grey = image[0].numpy()
        Image.fromarray(grey if channels == 1 else np.stack([grey] * channels, 2)).save(
            folder / f"{number:04d}.png"
        )
    return str(folder)
