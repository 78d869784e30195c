"""``bench plot``: the figures of a comparison, at the size of a paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Results, names, note

KINDS = ("curves", "nfe", "cost", "samples")
_DEFAULT_AXIS = {"curves": "images", "cost": "flops"}


def plot(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[curves|nfe|cost|samples]",
            help="The metric along the runs, against NFE, or against the whole cost; or samples from the same noise.",
        ),
    ] = "curves",
    teacher: Annotated[str | None, typer.Option(help="Only this teacher [default: a panel for each].")] = None,
    metric: Annotated[str, typer.Option(help="What is drawn, such as is or recall.")] = "fid",
    x: Annotated[
        str | None, typer.Option("--x", help="images, flops or seconds [default: images for curves, flops for cost].")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Only these, such as sid,dmd.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol [default: a panel for each].")] = None,
    width: Annotated[str, typer.Option(help="column (3.35 in) or page (6.9 in).")] = "page",
    count: Annotated[int, typer.Option("-n", help="Images of each method, for samples: a square of up to 64.")] = 16,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="pdf, svg or png; give several for several [default: KIND.pdf]."),
    ] = None,
    results: Results = None,
) -> None:
    """Draw the finished runs; those that differ only in their seed make one line, with a band from the smallest to the largest.

    The figure's caption goes to stdout.

    Example: bench plot curves --teacher edm-digits --x flops -o curves.pdf -o curves.png
    """
    from bench import registry
    from bench.errors import BenchError, UsageError, unknown
    from bench.files.atomic import require_writable, write_atomic
    from bench.leaderboard.curves import comparisons
    from bench.render.figures.paper import WIDTHS, check_form, encoded, missing_letters, paper_style
    from bench.render.figures.plot import X_LABELS, draw
    from bench.render.figures.side_by_side import side_by_side
    from bench.runs.store import read_records, results_folder

    if kind not in KINDS:
        raise unknown("kind of figure", kind, KINDS)
    if x is not None and kind not in _DEFAULT_AXIS:
        raise UsageError(f"--x {x} is for curves and cost; a figure of {kind} has no such axis, leave it out.")
    axis = x or _DEFAULT_AXIS.get(kind, "images")
    if axis not in X_LABELS:
        raise unknown("axis", axis, X_LABELS)
    if width not in WIDTHS:
        raise unknown("width", width, WIDTHS)
    across = math.isqrt(max(count, 0))
    if across**2 != count or not 1 <= across <= 8:
        raise UsageError(f"-n {count} images make no square; expected 1, 4, 9, 16, 25, 36, 49 or 64.")
    files = [(file, check_form(file)) for file in output or [Path(f"{kind}.pdf")]]
    for file, _ in files:
        require_writable(file.parent, "folder")
    folder = results_folder(results)
    records, skipped = read_records(folder)
    asked = names(methods, "methods", "sid,dmd")
    for what, given, known in (
        ("teacher", [teacher] if teacher else [], {*registry.teachers.entries(), *(r.teacher for r in records)}),
        ("metric", [metric], {*registry.metrics.entries(), *(m for r in records for m in r.final)}),
        ("method", asked or [], {*registry.methods.entries(), *(r.method for r in records)}),
    ):
        for name in given:
            if name not in known:
                raise unknown(what, name, known)
    open_runs = [r.run_id for r in records if r.status != "done" and (teacher is None or r.teacher == teacher)]
    for sentence in [*skipped, *([f"not finished: {', '.join(open_runs)}."] if open_runs else [])]:
        note(sentence)
    found = comparisons(records, metric, teacher, asked, protocol)
    drawn = {line.method for panel in found for line in panel.lines}
    for method in asked or []:
        if method not in drawn | {"teacher"}:
            note(f"there is no finished run of {method!r} to draw.")
    with paper_style():
        drawing = side_by_side(found, folder, width, across) if kind == "samples" else draw(kind, found, axis, width)
        if drawing is None:
            choice = {"teacher": teacher, "metric": metric, "methods": methods, "protocol": protocol}
            wanted = ", ".join(f"{what} {value!r}" for what, value in choice.items() if value)
            raise BenchError(
                f"nothing in {str(folder)!r} makes a figure of {kind} with {wanted}; finish a run that does, "
                "such as `bench run --method sid --teacher edm-digits`, or name its folder with --results."
            )
        contents = [(file, encoded(drawing.figure, form, drawing.caption)) for file, form in files]
    for file, content in contents:
        write_atomic(file, content)
        typer.echo(f"{file}: {len(content):,} bytes", err=True)
    for sentence in drawing.notes:
        note(sentence)
    if letters := missing_letters(drawing.figure):
        note(f"the font of the figures lacks {letters!r}; an SVG takes them from its reader's fonts, PDF and PNG show boxes.")
    typer.echo(drawing.caption)
