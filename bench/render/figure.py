"""The picture of a run: its metric against the training images, and the same noise as the generator learns."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import LogLocator, NullLocator

from bench.files import write_atomic
from bench.record import Evaluation, Record
from bench.render.numbers import quantity

_INK, _ACCENT, _MUTED = "#1b2a41", "#0b6e99", "#8a94a3"


def save_curve(record: Record, teacher: Record | None, folder: Path) -> Path | None:
    """Write ``curve.png`` into a run's folder from its record and sample grids; None if there is no curve to show."""
    points = [e for e in record.evaluations if e.images > 0]
    if len(points) < 2:
        return None
    metric = next(iter(points[0].metrics))
    figure = Figure(figsize=(8.4, 4.6), dpi=150, layout="constrained")
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[2.6, 1]), dtype=object)
    _curve(top, record, points, metric, teacher)
    _strip(bottom, record, folder)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "distill-bench"})
    path = folder / "curve.png"
    write_atomic(path, buffer.getvalue())
    return path


def _curve(part: FigureBase, record: Record, points: list[Evaluation], metric: str, teacher: Record | None) -> None:
    axes = part.subplots()
    values = [e.metrics[metric].value for e in points]
    axes.loglog([e.images for e in points], values, "o-", color=_ACCENT, label=f"{record.method}, NFE {record.nfe}")
    if teacher is not None and metric in teacher.final:
        axes.axhline(teacher.final[metric], color=_INK, linestyle="--", linewidth=1, label=f"teacher, NFE {teacher.nfe}")
    for e, value in zip(points, values, strict=True):
        axes.annotate(f"{value:.2f}", (e.images, value), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.margins(x=0.04, y=0.18)
    axes.set_xlabel("images generated for the generator's updates")
    axes.set_ylabel(f"{metric.upper()} ({points[0].metrics[metric].protocol})")
    axes.set_xticks([e.images for e in points], [quantity(e.images) for e in points], minor=False)
    axes.set_xticks([], minor=True)
    narrow = max(values) / min(values) < 30
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if narrow else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(f"{record.method} distils {record.teacher}", loc="left", color=_INK, fontsize=11)
    axes.grid(which="major", color="#e4e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _strip(part: FigureBase, record: Record, folder: Path) -> None:
    """One column of samples for each evaluation, from the same noise."""
    grids = [(e, folder / "samples" / f"{e.images:012d}.png") for e in record.evaluations]
    grids = [(e, file) for e, file in grids if file.is_file()]
    if not grids:
        return
    for axes, (e, file) in zip(part.subplots(1, len(grids), squeeze=False)[0], grids, strict=True):
        axes.imshow(_corner(file, 0.375 if record.images.get("resolution", 0) > 1 else 1.0))
        axes.set_xlabel(quantity(e.images), color=_MUTED, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)


def _corner(file: Path, fraction: float) -> object:
    """The upper left part of a picture: of a square grid, enough images to see and large enough to read."""
    picture = matplotlib.image.imread(file)
    return picture[: int(picture.shape[0] * fraction), : int(picture.shape[1] * fraction)]
