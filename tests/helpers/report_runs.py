"""Runs with curves and sample grids, such as a report shows; some of them are hostile or damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.render.report.content import content
from bench.render.report.page import page
from bench.runs.folder import RunFolder
from bench.runs.record import Evaluation, Measurement, Record
from bench.runs.store import read_runs

HOSTILE = """a_b & 50% <script>window.ran = 1</script> "'><img src=x onerror="window.ran = 1"> {{script}} <!-- 距離 שלום"""
"""Text that is markup to whoever takes it for it."""
CHECKPOINTS = (0, 1000, 4000, 16000)
"""Images after which a run was evaluated."""


def evaluated_run(method: str, seed: int, fid: float, **fields: Any) -> Record:
    """A finished run whose FID falls to ``fid`` at 16,000 images; of the teacher, one that trains
    nothing.
    """
    trains = method != "teacher"
    points = [
        Evaluation(
            images=n,
            updates=n // 100,
            flops=n * 1_000_000,
            seconds=n / 100,
            samples=5000,
            nfe=1 if trains else 35,
            metrics={
                "fid": Measurement(
                    value=fid * (1 + (16000 - n) / 1000) if trains else fid,
                    std=0.05,
                    protocol="digits-5k",
                ),
                "is": Measurement(value=5.0 - fid / 10, protocol="digits-5k"),
            },
        )
        for n in (CHECKPOINTS if trains else (0,))
    ]
    last = points[-1]
    cost = {axis: getattr(last, axis) for axis in ("images", "updates", "flops", "seconds")}
    known = {
        "run_id": f"{method}-edm-digits-s{seed}-0123456789",
        "method": method,
        "teacher": "edm-digits",
        "seed": seed,
        "status": "done",
        "recipe": {
            "method": method,
            "seed": seed,
            "budget": "images=16000",
            "settings": {"alpha": 1.2, "lr": 0.001},
        },
        "recipe_hash": "0123456789",
        "sources": {"alpha": "paper, table 3", "lr": "tuned here"},
        "protocols": {
            "digits-5k": {
                "samples": 5000,
                "directions": {"fid": "lower", "is": "higher"},
                "compares": ["fid"],
            }
        },
        "nfe": last.nfe,
        "cost": cost | {"evaluations": {"fake": {"forward": 32000}}, "peak_memory_bytes": 793_501_696},
        "evaluations": points,
        "final": {name: m.value for name, m in last.metrics.items()},
        "tuning": {"runs": 19, "note": "by final FID"} if trains else {},
        "environment": {"torch": "2.15.0", "device": "cpu (AMD EPYC)"},
        "inputs": {"/somebody/private/methods/sid.py": "53569cd1"},
        "started": "2026-01-01T00:00:00+00:00",
    }
    return Record.model_validate(known | fields)


def write_run(results: Path, made: Record, name: str | None = None, side: int = 24) -> RunFolder:
    """Its folder, with a sample grid of its own for each checkpoint."""
    folder = RunFolder(results / (name or made.run_id))
    folder.samples.mkdir(parents=True)
    folder.write_record(made)
    for e in made.evaluations:
        pixels = np.random.default_rng([*made.run_id.encode(), e.images]).integers(
            0, 256, (side, side, 3), dtype=np.uint8
        )
        Image.fromarray(pixels).save(folder.samples / f"{e.images:012d}.png", compress_level=0)
    return folder


def write_study(results: Path) -> None:
    """Three methods of three seeds, one of which needs data; the teacher; a hostile one; and
    everything that can be wrong.
    """
    for method, fid, requires in (
        ("sid", 2.0, []),
        ("dmd", 3.0, ["TeacherPairs"]),
        ("diff-instruct", 10.0, []),
    ):
        for seed in range(3):
            write_run(results, evaluated_run(method, seed, fid + seed / 10, requires=requires))
    write_run(results, evaluated_run("teacher", 0, 1.5))
    bad = evaluated_run(
        HOSTILE,
        0,
        5.0,
        sources={"alpha": HOSTILE},
        environment={HOSTILE: HOSTILE},
        extra=[{"x": HOSTILE}],
    )
    write_run(results, bad, "hostile")
    write_run(
        results, evaluated_run("sid", 7, 9.0, status="failed", error=f"the loss is not finite {HOSTILE}")
    )
    write_run(results, evaluated_run("unmeasured", 0, 1.0, evaluations=[], final={}))
    (write_run(results, evaluated_run("sid", 20, 1.0)).path / "record.json").write_text(
        '{"schema": 1, "run_id"'
    )
    (write_run(results, evaluated_run("sid", 21, 1.0)).path / "record.json").write_bytes(b"\xff\xfe")
    (write_run(results, evaluated_run("sid", 22, 1.0)).path / "record.json").unlink()
    newer = evaluated_run("sid", 23, 1.0)
    newer.schema_ = 99
    write_run(results, newer)
    costless = write_run(results, evaluated_run("sid", 24, 1.0)).path / "record.json"
    content = {k: v for k, v in json.loads(costless.read_text()).items() if k != "seal"}
    costless.write_text(json.dumps(content | {"cost": {}}))
    diverged = write_run(results, evaluated_run("sid", 25, 1.0)).path / "record.json"
    unsealed = re.sub(r',\n "seal": "\w+"', "", diverged.read_text())
    diverged.write_text(re.sub(r'"fid": [\d.]+', '"fid": 1e999', unsealed))
    write_run(results, evaluated_run("sid", 0, 2.0), "copy")
    (
        write_run(results, evaluated_run("damaged-grid", 0, 9.0)).samples / f"{16000:012d}.png"
    ).write_bytes(b"no picture")


def whole_page(results: Path, **options: Any) -> str:
    """The report of all runs in a results folder."""
    return page(content(*read_runs(results), **options))


def write_many_runs(results: Path, count: int) -> None:
    """Methods of four seeds each, with large grids of noise, which no format makes smaller."""
    for i in range(count):
        write_run(results, evaluated_run(f"method-{i // 4}", i % 4, 2 + i / 100), side=240)
