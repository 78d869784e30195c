"""The sample grids of a report, as small as they can be without a visible loss."""

import base64
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

LEFT_OUT = -1
"""Stands for the place of a grid that there is no room for."""
_LOSSLESS = 24_000
"""Bytes up to which a picture is kept exactly; photographs beyond them shrink to a seventh."""
_SIDE = 1132
"""Pixels: a larger grid is reduced to this width and height."""


class Grids:
    """Pictures for the page, in ``room`` characters; equal ones are kept once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.places: dict[str, int] = {}
        """The pictures as data URIs, in their order, with the place of each."""
        self.damaged: list[Path] = []
        self.left_out = 0

    def add(self, file: Path) -> int | None:
        """Add a grid and return its place among the pictures.

        Returns ``LEFT_OUT`` if there is no room for it, and None if the file is damaged.
        """
        if self.left_out:  # earlier grids matter more, and the page is made quickly
            self.left_out += 1
            return LEFT_OUT
        try:
            picture = _encoded(file)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # all of them Pillow's
            self.damaged.append(file)
            return None
        if picture not in self.places:
            if len(picture) > self.room:
                self.left_out += 1
                return LEFT_OUT
            self.room -= len(picture)
            self.places[picture] = len(self.places)
        return self.places[picture]


def _encoded(file: Path) -> str:
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="webp", lossless=True, method=2, quality=20)
    if buffer.tell() > _LOSSLESS:
        buffer = io.BytesIO()
        picture.save(buffer, format="webp", quality=70, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def spread(count: int) -> Iterator[int]:
    """Yield all of ``range(count)``: the last first, and then always the middle of the widest gap.

    However early it is cut off, what was yielded covers the whole.
    """
    if count:
        yield count - 1
    chosen = [-1, count - 1]
    for _ in range(count - 1):
        low, high = max(itertools.pairwise(sorted(chosen)), key=lambda gap: gap[1] - gap[0])
        chosen.append((low + high) // 2)
        yield chosen[-1]
