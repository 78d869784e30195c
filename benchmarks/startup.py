"""How soon the commands answer that should answer at once: help, lists, and a run that is finished.

    python benchmarks/startup.py [--times 9]

Each is a process of its own, started again and again in turn with the others and with a bare
Python, which is the floor. Prints for each the smallest and the median seconds on the clock, and
which large libraries it has imported.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

RUN = ["run", "--method", "sid", "--teacher", "edm-digits", "--budget", "updates=3", "--set", "batch=16"]
RUN += ["--eval-samples", "60", "--eval-repeats", "1", "--no-teacher"]
COMMANDS = {
    "a bare Python": None,
    "bench --help": ["--help"],
    "bench list methods": ["list", "methods"],
    "bench list runs": ["list", "runs"],
    "bench run, finished": RUN,
}
HEAVY = {"torch", "pandas", "matplotlib", "sklearn"}
NAMES_THE_HEAVY = """
import atexit, sys
atexit.register(lambda: print("imported", *({heavy} & set(sys.modules)), file=sys.stderr))
sys.argv = ["bench", *{arguments}]
from bench.cli import main
main()
"""


def seconds(arguments: list[str] | None) -> float:
    """From the start of the process to its end."""
    command = (
        [sys.executable, "-c", "pass"]
        if arguments is None
        else [sys.executable, "-m", "bench", *arguments]
    )
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def imported(arguments: list[str] | None) -> str:
    """The large libraries that the command has imported."""
    if arguments is None:
        return ""
    code = NAMES_THE_HEAVY.format(heavy=HEAVY, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1].removeprefix("imported").strip()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as results:
        os.environ["BENCH_RESULTS"] = results
        seconds(RUN)  # so that it is finished
        taken = [[seconds(arguments) for arguments in COMMANDS.values()] for _ in range(given.times)]
        print("| command | smallest, s | median, s | large libraries imported |\n|---|---|---|---|")
        for (name, arguments), each in zip(COMMANDS.items(), zip(*taken, strict=True), strict=True):
            print(
                f"| {name} | {min(each):.2f} | {statistics.median(each):.2f} | "
                f"{imported(arguments) or 'none'} |"
            )
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
