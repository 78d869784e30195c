"""The look of axes, alike in the picture of a run and in the figures of a paper."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bench.runs.record import Record

INK, ACCENT, MUTED = "#1b2a41", "#0b6e99", "#8a94a3"


def plain(axes: Axes) -> None:
    """Draw a light grid, and no frame but the two axes."""
    axes.grid(which="major", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def bare(axes: Axes) -> None:
    """Remove the axes around a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def log_ticks(
    axis: Axis,
    smallest: float,
    largest: float,
    form: str | Callable[[float, float], str] = "{x:g}",
) -> None:
    """Set ticks of a logarithmic axis as plain numbers: the fewer decades, the more to a decade."""
    ratio = largest / smallest
    subs = {30.0: (1, 1.5, 2, 3, 5, 7), 200.0: (1, 2, 5), 1000.0: (1, 3), math.inf: (1,)}
    fitting = next(s for bound, s in subs.items() if ratio < bound)
    axis.set_major_locator(MaxNLocator(5) if ratio < 3 else LogLocator(subs=fitting))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(form)


def corner(file: Path, run: Record, across: int) -> Any:
    """Read the upper left part of a run's square sample grid of 8 x 8 images.

    It has the first ``across`` images of the first rows. Points of the plane have one picture, which is
    not cut.
    """
    picture = matplotlib.image.imread(file)
    part = across / 8 if run.images.get("resolution", 0) > 1 else 1.0
    return picture[: int(picture.shape[0] * part), : int(picture.shape[1] * part)]
