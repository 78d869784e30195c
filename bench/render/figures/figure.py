"""The picture of a run: its metric over the training images, and samples from the same noise."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, FigureBase

from bench.files.atomic import replacing
from bench.render.figures.axes import ACCENT, INK, MUTED, bare, corner, log_ticks, plain
from bench.runs.folder import RunFolder
from bench.runs.record import Evaluation, Record
from bench.units import quantity


def save_curve(record: Record, teacher: Record | None, folder: Path) -> Path | None:
    """Write ``curve.png`` into a run's folder and return its path; None if there is no curve to show."""
    points = [e for e in record.evaluations if e.images > 0]
    # more steps, as in the stages before the last, are another generator
    points = [e for e in points if e.nfe == points[-1].nfe]
    if not points:
        return None
    metric = next(iter(points[0].metrics))
    figure = Figure(figsize=(8.4, 4.6), dpi=150, layout="constrained")
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[2.6, 1]), dtype=object)
    _curve(top, record, points, metric, teacher)
    _strip(bottom, record, folder)
    path = folder / "curve.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "distill-bench"})
    return path


def _curve(
    part: FigureBase,
    record: Record,
    points: list[Evaluation],
    metric: str,
    teacher: Record | None,
) -> None:
    axes = part.subplots()
    values = [e.metrics[metric].value for e in points]
    images = [e.images for e in points]
    axes.loglog(images, values, "o-", color=ACCENT, label=f"{record.method}, NFE {record.nfe}")
    if teacher is not None and metric in teacher.final:
        label = f"teacher, NFE {teacher.nfe}"
        axes.axhline(teacher.final[metric], color=INK, linestyle="--", linewidth=1, label=label)
    for x, value in zip(images, values, strict=True):
        axes.annotate(
            f"{value:.2f}",
            (x, value),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.margins(x=0.04, y=0.18)
    axes.set(
        xlabel="images generated for the generator's updates",
        ylabel=f"{metric.upper()} ({points[0].metrics[metric].protocol})",
    )
    axes.set_xticks(images, list(map(quantity, images)), minor=False)
    axes.set_xticks([], minor=True)
    log_ticks(axes.yaxis, min(values), max(values))
    axes.set_title(f"{record.method} distils {record.teacher}", loc="left", color=INK, fontsize=11)
    plain(axes)
    axes.legend(frameon=False)


def _strip(part: FigureBase, record: Record, folder: Path) -> None:
    """Draw one column of samples for each evaluation, from the same noise."""
    grids = [(e, RunFolder(folder).grid(e.images)) for e in record.evaluations]
    grids = [(e, file) for e, file in grids if file.is_file()]
    if not grids:
        return
    for axes, (e, file) in zip(part.subplots(1, len(grids), squeeze=False)[0], grids, strict=True):
        axes.imshow(corner(file, record, 3))
        axes.set_xlabel(quantity(e.images), color=MUTED, fontsize=9)
        bare(axes)
