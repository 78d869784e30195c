"""The content of a report: the leaderboard, and the curve, grids and details of each run."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import one_line
from bench.ranking.curves import matched_axis
from bench.ranking.finals import final_numbers
from bench.ranking.leaderboard import leaderboard
from bench.ranking.rows import Leaderboard, Row
from bench.render.report.details import details
from bench.render.report.grids import Grids, spread
from bench.render.report.page import as_json
from bench.runs.budget import AXES
from bench.runs.folder import RunFolder, now
from bench.runs.record import Record
from bench.units import ARROWS

Run = tuple[RunFolder, Record]
LIMIT = 19_500_000
"""Characters: with the page's own parts it stays under 20 MB, which mail and issue trackers still take.
"""


def content(
    runs: Sequence[Run],
    skipped: Sequence[str],
    limit: int = LIMIT,
    report: Callable[[float], None] = lambda fraction: None,
) -> dict[str, Any]:
    """Return the data of the page in about ``limit`` characters.

    Sample grids beyond the limit are left out, and runs that cannot be shown join ``skipped``, a
    sentence each. ``report`` is called with the fraction of the work that is done.
    """
    runs, flaws = _sound(runs)
    records = [record for _, record in runs]
    board = leaderboard(records)
    data = {"made": now(), "axis": matched_axis(records)} | _without_pictures(records, board)
    grids = Grids(limit - len(as_json(data)))
    for run, shown in zip(data["runs"], _shown(runs, board, grids, report), strict=True):
        for point in run["points"]:
            if point["images"] in shown:
                point["grid"] = shown[point["images"]]
    damaged = [f"the sample grid {file} is damaged." for file in grids.damaged]
    return data | {
        "pictures": list(grids.places),
        "leftOut": grids.left_out,
        "skipped": [*skipped, *flaws, *damaged],
    }


def _sound(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs that can be shown, each once, and a sentence for every other one."""
    sound: dict[str, Run] = {}
    flaws = []
    # a copy in a folder of another name comes second
    for folder, record in sorted(runs, key=lambda run: run[0].path.name != run[1].run_id):
        if record.run_id in sound:
            shown = sound[record.run_id][0].path
            flaws.append(f"the run {folder.path} has the same id as {shown}, which is shown.")
        elif flaw := _flaw(record):
            flaws.append(
                f"the record {folder.path / 'record.json'} {flaw}; repeat the run with --fresh."
            )
        else:
            sound[record.run_id] = (folder, record)
    return list(sound.values()), flaws


def _flaw(record: Record) -> str | None:
    """Say what keeps a readable record from being shown; None if nothing does.

    The free parts of a record may hold anything, so that the way to know is to try.
    """
    if infinite := [name for name, value in record.final.items() if not math.isfinite(value)]:
        return f"has a {infinite[0]} that is not finite"
    try:
        as_json(_without_pictures([record], leaderboard([record])))
    except Exception as error:
        return f"does not hold ({type(error).__name__}: {one_line(error)})"
    return None


def _without_pictures(records: Sequence[Record], board: Leaderboard) -> dict[str, Any]:
    """Return all data of the page but the pictures."""
    places = {record.run_id: i for i, record in enumerate(records)}
    columns = _columns(board, records)
    return {
        "columns": [
            {
                "metric": c.metric,
                "label": c.label,
                "arrow": ARROWS[c.direction],
                "lower": c.direction == "lower",
            }
            for c in board.columns
        ],
        "rows": [_row(row, board, places) for row in board.rows],
        "runs": [_run(record, columns.get(record.run_id, {})) for record in records],
    }


def _columns(board: Leaderboard, records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Return by run the place of the column that each of its metrics stands in."""
    place = {(c.metric, c.protocol): i for i, c in enumerate(board.columns)}
    columns: dict[str, dict[str, int]] = {}
    for final in final_numbers(records):
        columns.setdefault(final.record.run_id, {})[final.metric] = place[final.key]
    return columns


def _row(row: Row, board: Leaderboard, places: dict[str, int]) -> dict[str, Any]:
    numbers = [row.numbers.get(c) for c in board.columns]
    plain = ("teacher", "method", "variant", "rank", "seeds", "nfe", "tuning", *AXES)
    return {name: getattr(row, name) for name in plain} | {
        "dataFree": row.data_free,
        "numbers": [
            {"mean": n.mean, "std": _finite(n.std), "seeds": n.seeds} if n else None for n in numbers
        ],
        "runs": [places[run_id] for run_id in row.runs],
    }


def _run(record: Record, columns: dict[str, int]) -> dict[str, Any]:
    points = [
        {
            **{axis: _finite(getattr(e, axis)) for axis in AXES},
            "nfe": e.nfe,
            "values": {
                columns[name]: _finite(m.value) for name, m in e.metrics.items() if name in columns
            },
        }
        for e in record.evaluations
        if e.nfe == record.nfe  # more steps, as in the stages before the last, are another generator
    ]
    plain = {name: getattr(record, name) for name in ("method", "teacher", "seed", "status", "error")}
    return {"id": record.run_id, "points": points, "details": details(record)} | plain


def _shown(
    runs: Sequence[Run],
    board: Leaderboard,
    grids: Grids,
    report: Callable[[float], None],
) -> list[dict[int, int]]:
    """Return by run the place of each of its grids among the pictures, by the images they were made at.

    A grid that does not fit has the place ``LEFT_OUT``. The grids that compare the most come first: of
    every row one seed before a second one, and the end of a run before its middle and its beginning.
    """
    order = {
        run_id: (turn, i) for i, row in enumerate(board.rows) for turn, run_id in enumerate(row.runs)
    }
    files: list[tuple[int, int, int, int, int, Path]] = []
    for run, (folder, record) in enumerate(runs):
        grid_of = {e.images: folder.grid(e.images) for e in record.evaluations}
        existing = [(images, file) for images, file in sorted(grid_of.items()) if file.is_file()]
        turn, row = order.get(record.run_id, (len(runs), len(board.rows)))
        files += [(turn, when, row, run, *existing[i]) for when, i in enumerate(spread(len(existing)))]
    shown: list[dict[int, int]] = [{} for _ in runs]
    for done, (*_, run, images, file) in enumerate(sorted(files), 1):
        if (place := grids.add(file)) is not None:
            shown[run][images] = place
        report(done / len(files))
    return shown


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
