"""Every method's update on a full-size EDM network: does it run, and within the memory that
``--dry-run`` estimates?

    .venv/bin/python benchmarks/full_size.py --methods sid dmd2 -o FILE.csv

The network is that of CIFAR-10 (55.7M parameters), unconditional and by class, with random weights;
two updates at batch 2 on the CPU, each in a process of its own. Images are random, and so are
LPIPS' weights, in files of the published layout.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import registry

METHODS = [name for name in registry.methods.entries() if registry.methods.get(name).trains]
PLUGIN = """
import torch
from bench.plugin import InMemory, register_dataset, register_teacher
from teachers.edm import EDMCifar10, EDMCifar10Cond


def load(self, path):
    torch.manual_seed(0)
    network = self.network.build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network


@register_dataset("random-images")
class RandomImages(InMemory):
    def __init__(self, path=None):
        super().__init__(torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64) % 10)


for name, teacher in (("random-cifar10", EDMCifar10), ("random-cifar10-cond", EDMCifar10Cond)):
    own = {"load": load, "dataset": "random-images", "__module__": __name__}
    register_teacher(name)(type(name, (teacher,), own))
"""
SMALL = {
    "sida": ["generator_starts_at=0", "adversarial_starts_at=0"],
    "sid2a": ["generator_starts_at=0", "adversarial_starts_at=0", "start=null", "sid_share=0.5"],
    "dmd": ["pairs=4", "pair_steps=2"],
    "kd": ["pairs=4", "pair_steps=2"],
    "pd": ["first_steps=2"],
}


def lpips_weights(cache: Path) -> None:
    """Random weights of the published layout where the suite looks for them."""
    import torch
    from torchvision.models.vgg import cfgs, make_layers

    from methods.parts.distance import LPIPS_LINEAR, VGG16

    os.environ["BENCH_CACHE"] = str(cache)
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))
    }
    features = {f"features.{name}": t for name, t in make_layers(cfgs["D"]).state_dict().items()}
    for asset, content in ((VGG16, features), (LPIPS_LINEAR, linear)):
        asset.path.parent.mkdir(parents=True)
        torch.save(content, asset.path)


def measure(method: str, teacher: str, folder: Path) -> dict[str, str | float]:
    """One row: estimated and measured peak memory, and the time of an update."""
    settings = [f"--set={text}" for text in ["batch=2", *SMALL.get(method, [])]]
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        "--plugin",
        str(folder / "plugin.py"),
        "--method",
        method,
    ]
    command += [
        "--teacher",
        teacher,
        "--eval",
        "none",
        "--no-teacher",
        "--budget",
        "updates=2",
        *settings,
    ]
    environment = os.environ | {
        "BENCH_RESULTS": str(folder / "runs"),
        "BENCH_CACHE": str(folder / "cache"),
    }
    said = subprocess.run(
        [*command, "--dry-run"], env=environment, capture_output=True, text=True, check=False
    )
    row: dict[str, str | float] = {"method": method, "teacher": teacher}
    if said.returncode:
        return row | {"error": said.stderr.strip()[-300:]}
    number = next(line for line in said.stdout.splitlines() if line.startswith("peak memory")).split()[2]
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    estimate = float(number[:-2]) * units[number[-2]]
    done = subprocess.run(
        [*command, "--format", "json"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return row | {"error": done.stderr.strip()[-300:]}
    cost = json.loads(done.stdout)["cost"]
    peak, seconds = cost["peak_memory_bytes"], cost["seconds"] / cost["updates"]
    return row | {
        "estimated_GB": round(estimate / 1e9, 2),
        "measured_GB": round(peak / 1e9, 2),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure every method on both networks and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/full_size.csv"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, given.output.open("w", newline="") as file:
        folder = Path(name)
        (folder / "plugin.py").write_text(PLUGIN)
        lpips_weights(folder / "cache")
        fields = ["method", "teacher", "estimated_GB", "measured_GB", "seconds", "error"]
        table = csv.DictWriter(file, fields, restval="")
        table.writeheader()
        for method in given.methods:
            for teacher in ("random-cifar10", "random-cifar10-cond"):
                row = measure(method, teacher, folder)
                table.writerow(row)
                file.flush()
                print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
