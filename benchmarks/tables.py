"""Seconds to read the records of many runs, to rank them, and to write the table in every format.

    python -m benchmarks.tables [--runs 10000]

The runs are made up: three methods of three seeds under many settings, with a curve of eight points
each, and the teacher. Prints seconds of the processor, which other work on the machine lengthens
little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.ranking.leaderboard import leaderboard
from bench.render.tables.table import FORMATS, render
from bench.runs.store import read_records
from tests.helpers.records import many_records, write


def timed(what: str, function: Callable[[], Any]) -> Any:
    """Print what it took, and return what it returns."""
    started = time.process_time()
    result = function()
    print(f"{what:<24} {time.process_time() - started:6.2f} s")
    return result


def main() -> None:
    """Make the records, measure, and print a line for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(many_records(given.runs), Path(folder))
        started = time.process_time()
        records, _ = timed("reading the records", lambda: read_records(Path(folder)))
    board = timed("ranking", lambda: leaderboard(records))
    for form in FORMATS:
        timed(f"the table as {form}", partial(render, board, form))
    print(
        f"{'all of it':<24} {time.process_time() - started:6.2f} s: {len(records):,} runs in "
        f"{len(board.rows):,} rows"
    )


if __name__ == "__main__":
    main()
