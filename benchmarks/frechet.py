"""The Frechet distance from statistics of 2048 features: this suite against scipy's sqrtm and
torch-fidelity's eigvals.

    python benchmarks/frechet.py [--threads 1] [--blocks 5] [--slow-blocks 3] [--device cuda]

Made-up features whose variances fall like those of Inception; statistics of 10,000 images and of
256, which is fewer than dimensions, against a reference of 10,000. All work in float64, on the same
number of threads, in alternating blocks; sqrtm, which takes long, in the first few. Prints a
Markdown table of median seconds, on the clock and of the processor, of the median of the pairwise
ratios of each, and of how far the values are apart; then all of it as JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy
import scipy.linalg  # here, so that its threads are limited too
import torch
from threadpoolctl import threadpool_limits
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from bench.environment import device_name
from bench.plugin.accumulators import Moments, Statistics
from evals.fid import FID

DIMENSIONS, IMAGES, FEW = 2048, 10_000, 256
TRACE, DECAY = 100.0, 1.2
"""Total variance, and the power with which the variances along the axes of a Gaussian fall."""
OWN, ALONE, SQRTM, EIGVALS = (
    "own",
    "own, reference not prepared",
    "scipy sqrtm",
    "torch-fidelity eigvals",
)

Distance = Callable[[], float]


def measure(images: int, seed: int, shift: float = 0.0) -> Statistics:
    """Statistics of made-up features of this many images; another seed turns the axes by a little."""
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(
        torch.randn(DIMENSIONS, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    )[0]
    axes = torch.linalg.qr(axes + 0.003 * torch.randn(axes.shape, generator=draw))[0]
    variances = torch.arange(1, DIMENSIONS + 1) ** -DECAY
    scale = (TRACE * variances / variances.sum()).sqrt()
    moments = Moments(images)
    for first in range(0, images, 500):
        x = torch.randn(min(500, images - first), DIMENSIONS, generator=draw)
        moments.update(0.4 + shift + (x * scale) @ axes.T, first)
    return moments.statistics()


def by_sqrtm(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """As clean-fid, EDM and SiD do it, less the estimate of its error that they also ask for."""
    root = scipy.linalg.sqrtm(a["sigma"] @ b["sigma"])
    return float(
        np.square(a["mu"] - b["mu"]).sum()
        + np.trace(a["sigma"])
        + np.trace(b["sigma"])
        - 2 * np.trace(root).real
    )


def ways(generated: Statistics, reference: Statistics, device: torch.device) -> dict[str, Distance]:
    """Each way to compute one distance from statistics that are in memory."""
    fid, prepared = FID(), FID().prepare(reference)
    a, b = ({name: s[name].numpy() for name in ("mu", "sigma")} for s in (generated, reference))
    found: dict[str, Distance] = {
        OWN: lambda: fid.value(generated, prepared),
        ALONE: lambda: fid.value(generated, fid.prepare(reference)),
        EIGVALS: lambda: fid_statistics_to_metric(a, b, verbose=False)[KEY_METRIC_FID],
        SQRTM: lambda: by_sqrtm(a, b),
    }
    if device.type == "cuda":
        there = [{name: t.to(device) for name, t in s.items()} for s in (generated, prepared, reference)]
        found[f"{OWN}, {device}"] = lambda: fid.value(there[0], there[1])
        found[f"{ALONE}, {device}"] = lambda: fid.value(there[0], fid.prepare(there[2]))
        fid.value(there[0], fid.prepare(there[2]))  # its libraries start at the first call
    return found


def seconds(distance: Distance, device: torch.device) -> tuple[float, float, float]:
    """On the clock, of the processor, and the value."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock, processor = time.perf_counter(), time.process_time()
    value = distance()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - clock, time.process_time() - processor, value


def compare(
    images: int, reference: Statistics, given: argparse.Namespace, device: torch.device
) -> list[dict[str, object]]:
    """One row for each way."""
    distances = ways(measure(images, 2, shift=0.02), reference, device)
    blocks = [
        {
            way: seconds(f, device)
            for way, f in distances.items()
            if way != SQRTM or block < given.slow_blocks
        }
        for block in range(given.blocks)
    ]
    own = blocks[0][OWN][2]
    rows = []
    for way in distances:
        pairs = [(block[way], block[OWN]) for block in blocks if way in block]
        if pairs:
            value = pairs[0][0][2]
            rows.append(
                {"images": images, "way": way, "blocks": len(pairs)}
                | {
                    name: round(statistics.median(p[i] for p, _ in pairs), 3)
                    for i, name in enumerate(("wall_s", "cpu_s"))
                }
                | {
                    name: round(statistics.median(p[i] / o[i] for p, o in pairs), 2)
                    for i, name in enumerate(("wall", "cpu"))
                }
                | {"value": value, "difference": float(f"{value / own - 1:.1e}")}
            )
    return rows


def main() -> None:
    """Measure, print a table and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--slow-blocks", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_num_threads(given.threads)
    with threadpool_limits(given.threads):
        reference = measure(IMAGES, 1)
        rows = [row for images in (IMAGES, FEW) for row in compare(images, reference, given, device)]
    print(
        "| images | way | wall s | CPU s | wall ratio | CPU ratio | value | relative difference |\n"
        + "|---" * 8
        + "|"
    )
    for row in rows:
        shown = [
            f"{row['value']:.6f}" if name == "value" else str(row[name])
            for name in row
            if name != "blocks"
        ]
        print("| " + " | ".join(shown) + " |")
    facts = {
        "command": shlex.join(["python", *sys.argv]),
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "device": device_name(device),
    }
    print("\n" + json.dumps(facts | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
