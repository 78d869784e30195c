"""Tune every method on the embedded teacher with the same effort: so many settings drawn at random
from its space, one seed each.

    .venv/bin/python benchmarks/tune.py --trials 6 --budget flops=2T -o results/digits/tuning.csv

Trial k of a method always draws the same settings. A trial that is finished is not run again, so
that the command continues where it was stopped, and one that fails counts. The winner is the
smallest final FID; it is printed, and goes into the method's YAML by hand. The seed is not one of
the leaderboard's.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

TEACHER, SEED = "edm-digits", 100
SCORE = {
    "batch": [128, 256, 512],
    "lr": [3e-4, 5e-4, 1e-3, 2e-3],
    "fake_lr": [0.5, 1.0, 2.0],
    "lr_decay": [0.5, 1.0],
}
"""Of the methods with a fake-score network, whose learning rate is a multiple of the generator's."""
MATCHING = SCORE | {"init_sigma": [2.5, 80.0], "beta1": [0.0, 0.5]}
TRAJECTORY = {
    "batch": [128, 256, 512],
    "lr": [2e-4, 5e-4, 1e-3, 2e-3],
    "beta1": [0.0, 0.9],
    "lr_decay": [0.5, 1.0],
}
SPACES: dict[str, dict[str, Any]] = {
    "sid": SCORE | {"alpha": [1.0, 1.2]},
    "sida": SCORE | {"adversarial": [0.003, 0.01, 0.03]},
    "sid2a": SCORE | {"adversarial": [0.003, 0.01, 0.03], "sid_share": [0.3, 0.5, 0.7]},
    "diff-instruct": SCORE | {"init_sigma": [1.0, 2.5]},
    "sim": SCORE | {"distance": ["pseudo-huber", "l2"], "huber_c": [0.01, 0.03, 0.1]},
    "dmd": MATCHING | {"regression": [0.03, 0.1, 0.5]},
    "dmd2": MATCHING | {"gan": [1e-3, 3e-3, 1e-2], "guidance": [1e-2, 3e-2]},
    "f-distill": MATCHING | {"gan": [1e-3, 3e-3, 1e-2], "divergence": ["forward-kl", "jensen-shannon"]},
    "kd": TRAJECTORY | {"pairs": [10_000, 20_000, 50_000], "distance": ["l1", "l2"]},
    "pd": TRAJECTORY
    | {"lr_decay": [1.0], "first_steps": [8, 16, 32], "weight": ["truncated-snr", "uniform"]},
    "cd": TRAJECTORY | {"levels": [9, 18, 40], "target_decay": [0.0, 0.95]},
    "ect": TRAJECTORY
    | {"ratio": [2.0, 4.0], "stage_images": [100_000, 250_000, 500_000], "p_mean": [-1.1, -0.5]},
    "scd": TRAJECTORY
    | {
        "batch": [64, 128, 256],
        "lr": [5e-5, 1e-4, 2e-4],
        "beta2": [0.99, 0.999],
        "p_mean": [-0.5, 0.5, 1.0],
    }
    | {"warmup_images": [100_000, 300_000]},
}


def drawn(method: str, trial: int) -> dict[str, Any]:
    """The settings of one trial."""
    random = np.random.default_rng([zlib.crc32(method.encode()), trial])
    chosen = {name: values[random.integers(len(values))] for name, values in SPACES[method].items()}
    if "fake_lr" in chosen:
        chosen["fake_lr"] *= chosen["lr"]
    return chosen


def run(method: str, trial: int, budget: str, results: Path) -> dict[str, Any]:
    """One trial's row of the table."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import bench
    from bench.errors import BenchError

    settings = drawn(method, trial)
    row: dict[str, Any] = {
        "method": method,
        "trial": trial,
        "budget": budget,
        "settings": json.dumps(settings),
    }
    try:
        record = bench.run(
            method,
            TEACHER,
            seed=SEED,
            budget=budget,
            settings=settings,
            results=results,
            eval=["fid"],
            eval_points=1,
            eval_repeats=2,
        )
    except BenchError as error:
        return row | {"fid": float("inf"), "error": str(error)}
    return row | {
        "fid": round(record.final["fid"], 4),
        "images": record.cost.images,
        "seconds": round(record.cost.seconds, 1),
    }


def main() -> None:
    """Run all trials, write the table, and print the winners."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=list(SPACES), choices=list(SPACES))
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--budget", default="flops=2T")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("results/runs/tuning"))
    parser.add_argument("-o", "--output", type=Path, default=Path("results/digits/tuning.csv"))
    given = parser.parse_args()
    fields = ["method", "trial", "budget", "settings", "fid", "images", "seconds", "error"]
    with (
        ProcessPoolExecutor(given.processes, get_context("spawn")) as pool,
        given.output.open("w", newline="") as file,
    ):
        table = csv.DictWriter(file, fields, restval="")
        table.writeheader()
        jobs = [
            pool.submit(run, m, trial, given.budget, given.results)
            for trial in range(given.trials)
            for m in given.methods
        ]
        rows = []
        for job in jobs:
            rows.append(job.result())
            table.writerow(rows[-1])
            file.flush()
            print(*rows[-1].values(), flush=True)
    for method in given.methods:
        best = min((row for row in rows if row["method"] == method), key=lambda row: row["fid"])
        print(f"best of {given.trials}: {method} {best['fid']} {best['settings']}")


if __name__ == "__main__":
    main()
