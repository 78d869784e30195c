"""Seconds and memory to load a published network: the first time from its own format, then from the
verified copy.

    python benchmarks/loading.py edm-cifar10-32x32-uncond-vp.pkl

Each load is a process of its own with an empty cache to begin with; importing torch is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

LOAD = """
import json, sys, time, torch
from pathlib import Path
from bench.environment import peak_memory
from teachers.edm import EDMCifar10
begun = time.perf_counter()
EDMCifar10(Path(sys.argv[1]))
print(json.dumps([time.perf_counter() - begun, peak_memory(torch.device("cpu"))]))
"""


def main(file: str) -> None:
    """Load the file three times, and print what each took."""
    with tempfile.TemporaryDirectory() as cache:
        for what in ("first", "again", "again"):
            command = [sys.executable, "-c", LOAD, file]
            run = subprocess.run(
                command,
                env=os.environ | {"BENCH_CACHE": cache},
                check=True,
                capture_output=True,
                text=True,
            )
            seconds, memory = json.loads(run.stdout)
            print(f"{what:<6} {seconds:5.2f} s  {memory / 1e9:.2f} GB at the most")


if __name__ == "__main__":
    main(sys.argv[1])
