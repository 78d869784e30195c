"""What a report shows: the leaderboard, each run's curve, grids and details, and what had to be left out and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import one_line
from bench.leaderboard.finals import frame
from bench.leaderboard.leaderboard import leaderboard
from bench.leaderboard.rows import Leaderboard, Row
from bench.render.report.details import details
from bench.render.report.grids import Grids, spread
from bench.render.report.page import as_json
from bench.render.tables.columns import ARROWS
from bench.runs.record import Record
from bench.runs.store import RunFolder, now

Run = tuple[RunFolder, Record]
LIMIT = 19_500_000
"""Characters: with the page's own parts it stays under 20 MB, which mail and issue trackers still take."""
AXES = ("images", "updates", "flops", "seconds")


def content(
    runs: Sequence[Run],
    skipped: Sequence[str],
    teacher: str | None = None,
    limit: int = LIMIT,
    report: Callable[[float], None] = lambda fraction: None,
) -> dict[str, Any]:
    """The page's data, of one teacher if asked, in about ``limit`` characters: sample grids beyond them are left out.

    Runs that cannot be shown join ``skipped``, a sentence each. ``report`` is told how far the work is.
    """
    runs, flaws = _sound([run for run in runs if teacher is None or run[1].teacher == teacher])
    records = [record for _, record in runs]
    board = leaderboard(records)
    told = {"made": now()} | _told(records, board)
    grids = Grids(limit - len(as_json(told)))
    for run, shown in zip(told["runs"], _shown(runs, board, grids, report), strict=True):
        for point in run["points"]:
            if point["images"] in shown:
                point["grid"] = shown[point["images"]]
    damaged = [f"the sample grid {file} is damaged." for file in grids.damaged]
    return told | {"pictures": grids.pictures, "leftOut": grids.left_out, "skipped": [*skipped, *flaws, *damaged]}


def _sound(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs that can be shown, each once, and a sentence for every other one."""
    sound: dict[str, Run] = {}
    flaws = []
    for folder, record in sorted(runs, key=lambda run: run[0].path.name != run[1].run_id):  # a copy comes second
        if record.run_id in sound:
            flaws.append(f"the run {folder.path} has the same id as {sound[record.run_id][0].path}, which is shown.")
        elif flaw := _flaw(record):
            flaws.append(f"the record {folder.path / 'record.json'} {flaw}; repeat the run with --fresh.")
        else:
            sound[record.run_id] = (folder, record)
    return list(sound.values()), flaws


def _flaw(record: Record) -> str | None:
    """What keeps a readable record from being shown. Its free parts may hold anything, so that the way to know is to try."""
    if infinite := [name for name, value in record.final.items() if not math.isfinite(value)]:
        return f"has a {infinite[0]} that is not finite"
    try:
        as_json(_told([record], leaderboard([record])))
    except Exception as error:
        return f"does not hold ({type(error).__name__}: {one_line(error)})"
    return None


def _told(records: Sequence[Record], board: Leaderboard) -> dict[str, Any]:
    """All that is not a picture."""
    places = {record.run_id: i for i, record in enumerate(records)}
    columns = _columns(board, records)
    return {
        "columns": [
            {"metric": c.metric, "label": c.label, "arrow": ARROWS[c.direction], "lower": c.direction == "lower"}
            for c in board.columns
        ],
        "rows": [_row(row, board, places) for row in board.rows],
        "runs": [_run(record, columns.get(record.run_id, {})) for record in records],
    }


def _columns(board: Leaderboard, records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """For each run, which column each of its metrics stands in."""
    place = {(c.metric, c.protocol): i for i, c in enumerate(board.columns)}
    found: dict[str, dict[str, int]] = {}
    rows = frame(records)[["run_id", "metric", "protocol", "fingerprint"]]
    for run_id, metric, protocol, fingerprint in rows.itertuples(index=False):
        found.setdefault(run_id, {})[metric] = place[metric, f"{protocol}@{fingerprint}"]
    return found


def _row(row: Row, board: Leaderboard, places: dict[str, int]) -> dict[str, Any]:
    numbers = [row.numbers.get(c) for c in board.columns]
    plain = ("teacher", "method", "variant", "rank", "seeds", "nfe", "tuning", *AXES)
    return {name: getattr(row, name) for name in plain} | {
        "dataFree": row.data_free,
        "numbers": [{"mean": n.mean, "std": _finite(n.std), "seeds": n.seeds} if n else None for n in numbers],
        "runs": [places[run_id] for run_id in row.runs],
    }


def _run(record: Record, columns: dict[str, int]) -> dict[str, Any]:
    points = [
        {
            **{axis: _finite(getattr(e, axis)) for axis in AXES},
            "nfe": e.nfe,
            "values": {columns[name]: _finite(m.value) for name, m in e.metrics.items() if name in columns},
        }
        for e in record.evaluations
        if e.nfe == record.nfe  # more steps, as in the stages before the last, are another generator
    ]
    plain = ("method", "teacher", "seed", "status", "error")
    return {"id": record.run_id, "points": points, "details": details(record)} | {name: getattr(record, name) for name in plain}


def _shown(runs: Sequence[Run], board: Leaderboard, grids: Grids, report: Callable[[float], None]) -> list[dict[int, int]]:
    """For each run its grids by the images they were made at: their places among the pictures, or that they are left out.

    What fits is what compares most: of every row one seed before a second one, its end before its middle and its beginning.
    """
    order = {run_id: (turn, i) for i, row in enumerate(board.rows) for turn, run_id in enumerate(row.runs)}
    wanted: list[tuple[int, int, int, int, int, Path]] = []
    for place, (folder, record) in enumerate(runs):
        files = {e.images: folder.samples / f"{e.images:012d}.png" for e in record.evaluations}
        there = [(images, file) for images, file in sorted(files.items()) if file.is_file()]
        turn, row = order.get(record.run_id, (len(runs), len(board.rows)))
        wanted += [(turn, when, row, place, *there[i]) for when, i in enumerate(spread(len(there)))]
    shown: list[dict[int, int]] = [{} for _ in runs]
    for done, (*_, place, images, file) in enumerate(sorted(wanted), 1):
        if (found := grids.add(file)) is not None:
            shown[place][images] = found
        report(done / len(wanted))
    return shown


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
