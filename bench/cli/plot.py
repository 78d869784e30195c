"""``bench plot``: the figures of a comparison, at the size of a paper."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import Results, one_of, takes
from bench.cli.selection import (
    FIRST_RUN,
    IncludeSuperseded,
    Selection,
    SelectionFlags,
    comparable,
    known_names,
    require_known,
    trials,
    unfinished,
)
from bench.errors import BenchError, UsageError
from bench.files.atomic import require_writable, write_atomic
from bench.files.paths import written_path
from bench.ranking.curves import comparisons
from bench.ranking.searches import tuning_curves
from bench.render.figures.paper import WIDTHS, check_form, encoded, missing_letters, paper_style
from bench.render.figures.plot import X_LABELS, draw
from bench.render.figures.side_by_side import side_by_side
from bench.render.figures.tuning import draw_tuning
from bench.render.terminal.notes import note
from bench.runs.store import read_records

KINDS = ("curves", "nfe", "cost", "samples", "tuning")
_DEFAULT_AXIS = {"curves": "images", "cost": "flops"}


@takes(SelectionFlags)
def command(
    *,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[curves|nfe|cost|samples|tuning]",
            help="The metric along the runs, against NFE, or against the whole cost; "
            "or samples from the same noise, or what more trials of settings would bring.",
        ),
    ] = "curves",
    flags: dict[str, Any],
    include_superseded: IncludeSuperseded = False,
    metric: Annotated[str, typer.Option(help="What is drawn, such as is or recall.")] = "fid",
    x: Annotated[
        str | None,
        typer.Option(
            "--x", help="images, flops or seconds [default: images for curves, flops for cost]."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Only this protocol [default: a panel for each].")
    ] = None,
    width: Annotated[str, typer.Option(help="column (3.35 in) or page (6.9 in).")] = "page",
    count: Annotated[
        int, typer.Option("-n", help="Images of each method, for samples: a square of up to 64.")
    ] = 16,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            parser=written_path,
            metavar="FILE",
            help="pdf, svg or png; give several for several [default: KIND.pdf].",
        ),
    ] = None,
    results: Results,
) -> None:
    """Draw the finished runs; those that differ only in their seed make one line, with a band
    from the smallest to the largest.

    The figure's caption goes to stdout.

    Example: bench plot curves --teacher edm-digits --x flops -o curves.pdf -o curves.png
    """
    axis, across = _axis(kind, x), _side(count)
    one_of("width", width, WIDTHS)
    files = [(file, check_form(file)) for file in output or [Path(f"{kind}.pdf")]]
    for file, _ in files:
        require_writable(file.parent, "folder")
    records, skipped = read_records(results)
    selection = Selection.of(flags)
    wanted = {"teacher": selection.teachers, "metric": [metric], "method": selection.methods}
    require_known(known_names(records), wanted)
    pick = trials if kind == "tuning" else comparable
    shown, notes = pick(records, selection, include_superseded=include_superseded)
    note(*skipped, *(unfinished(shown) if kind != "tuning" else []), *notes)
    curves = comparisons(shown if kind != "tuning" else [], metric, protocol)
    drawn = {"teacher", *(line.method for panel in curves for line in panel.lines)}
    searches = tuning_curves(shown, metric, protocol) if kind == "tuning" else []
    drawn |= {search.method for search in searches}
    missing = [method for method in selection.methods or [] if method not in drawn]
    note(*(f"there is no finished run of {method!r} to draw." for method in missing))
    with paper_style():
        drawing = (
            side_by_side(curves, results, width, across)
            if kind == "samples"
            else draw_tuning(searches, width)
            if kind == "tuning"
            else draw(kind, curves, axis, width)
        )
        if drawing is None:
            choice = {"metric": metric, "protocol": protocol} | flags
            wishes = ", ".join(f"{what} {value!r}" for what, value in choice.items() if value)
            raise BenchError(
                f"nothing in {str(results)!r} makes a figure of {kind} with {wishes}; finish a run "
                f"that does, {FIRST_RUN}"
            )
        contents = [(file, encoded(drawing.figure, form, drawing.caption)) for file, form in files]
    for file, content in contents:
        write_atomic(file, content)
        typer.echo(f"{file}: {len(content):,} bytes", err=True)
    note(*drawing.notes)
    if letters := missing_letters(drawing.figure):
        note(
            f"the font of the figures lacks {letters!r}; an SVG takes them from its reader's "
            "fonts, PDF and PNG show boxes."
        )
    typer.echo(drawing.caption)


def _axis(kind: str, x: str | None) -> str:
    """Choose the horizontal axis of a kind of figure. Raises UsageError for one that there is not."""
    one_of("kind of figure", kind, KINDS)
    if x is not None and kind not in _DEFAULT_AXIS:
        raise UsageError(
            f"--x {x} is for curves and cost; a figure of {kind} has no such axis, leave it out."
        )
    return one_of("axis", x or _DEFAULT_AXIS.get(kind, "images"), X_LABELS)


def _side(count: int) -> int:
    """Return the side of a square of so many images. Raises UsageError for a number that makes none."""
    side = math.isqrt(max(count, 0))
    if side**2 != count or not 1 <= side <= 8:
        raise UsageError(f"-n {count} images make no square; expected 1, 4, 9, 16, 25, 36, 49 or 64.")
    return side
