"""Kill, damage, refuse and crowd runs, and see whether each ends in the right weights or a sentence.

    python -m benchmarks.faults [--parts kills damage room crowd] [--kills 200] [--methods sid,dmd]
        [--damages 100] [--refusals 100] [--runs 100] [--processes 8] [--seed 0] [-o FILE.json]

The runs are of 24 updates on the embedded digits, saved after every one. Every run that is killed
(``benchmarks/faults/kills.py``) or damaged (``damage.py``), that has no room (``room.py``), or that eight
processes want at once (``crowd.py``) is compared with one that nothing happened to. Prints what was
done and every fault; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults import crowd, damage, kills, room
from benchmarks.faults.runs import METHODS, prepare


def main() -> None:
    """Carry out the parts that are asked for, and write what they found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", default=["kills", "damage", "room", "crowd"])
    parser.add_argument("--methods", default=",".join(METHODS), help="of the runs that are killed")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=100)
    parser.add_argument("--refusals", type=int, default=100, help="at the most")
    parser.add_argument("--runs", type=int, default=100, help="that many processes want")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    methods = given.methods.split(",")

    prepare()
    kills.announce_work()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        straight = kills.StraightRuns(place)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "kills": lambda: kills.campaign(given.kills, methods, given.seed, place, straight),
            "damage": lambda: damage.campaign(given.damages, given.seed, place, straight[damage.METHOD]),
            "room": lambda: room.campaign(given.refusals, given.seed, place, straight[damage.METHOD]),
            "crowd": lambda: crowd.campaign(given.runs, given.processes, given.seed, place),
        }
        for part in given.parts:
            started = time.monotonic()
            found[part] = parts[part]()
            found[part]["seconds"] = round(time.monotonic() - started)
            print(part, json.dumps(found[part], indent=1), flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(any(result["faults"] for result in found.values()))


if __name__ == "__main__":
    main()
