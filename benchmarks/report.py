"""How large the report of many runs is, how long it takes to make, and how soon a browser shows it.

    python -m benchmarks.report [--runs 200]

Needs Chromium. The runs are made up, four seeds a method, and have sample grids of noise, which no
format makes smaller. Prints bytes and seconds on the clock; of five openings the fastest and the
median, until a frame is ready to be painted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.browser import Browser
from tests.helpers.report_runs import whole_page, write_many_runs


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """What a call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def main() -> None:
    """Make the runs and their report, and open it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_many_runs(folder / "runs", given.runs)
        file = folder / "report.html"
        making = seconds(lambda: file.write_text(whole_page(folder / "runs"), encoding="utf-8"))
        browser = Browser(folder / "chromium")
        browser.size(1280, 900)
        opening = [seconds(browser.open, file) for _ in range(5)]
        browser.close()
        print(
            f"a report of {given.runs} runs: {file.stat().st_size / 1e6:.1f} MB, made in {making:.2f} s,"
        )
        print(
            f"shown after {min(opening):.2f} s at the fastest, {statistics.median(opening):.2f} s "
            "in the middle"
        )


if __name__ == "__main__":
    main()
