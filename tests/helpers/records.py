"""Records of runs that never were, for tests of what is made of records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.runs.folder import RunFolder
from bench.runs.record import Evaluation, Measurement, Record


def record(
    method: str = "sid",
    seed: int = 0,
    fid: float = 2.0,
    curve: Sequence[tuple[int, float]] = (),
    teacher: str = "edm-digits",
    settings: dict[str, Any] | None = None,
    replicates: Sequence[float] = (),
    requires: Sequence[str] = (),
    nfe: int = 1,
    protocol: str = "digits-5k",
    flops: int = 2_000,
) -> Record:
    """A finished run; ``curve`` are FLOPs and FID before the last evaluation."""
    trained = method != "teacher"
    settings = settings or {}
    points = [*curve, (flops if trained else 0, fid)]
    return Record(
        run_id=f"{method}-{teacher}-s{seed}-{abs(hash((str(settings), protocol, nfe))):x}"[:60].replace(
            "/", "_"
        ),
        method=method,
        teacher=teacher,
        seed=seed,
        status="done",
        recipe={
            "method": method,
            "teacher": teacher,
            "seed": seed,
            "settings": settings,
            "budget": f"flops={flops}",
            "teacher_digest": "0",
            "evaluation": {"protocol": protocol, "samples": 5000, "repeats": len(replicates) or 1},
        },
        recipe_hash="0",
        sources=dict.fromkeys(settings, "given"),
        protocols={protocol: {"directions": {"fid": "lower"}, "compares": ["fid"]}},
        requires=list(requires),
        nfe=nfe,
        cost={"images": 100, "updates": 10 * trained, "flops": flops * trained, "seconds": 3.0},
        evaluations=[
            Evaluation(
                images=100,
                updates=10,
                flops=cost,
                seconds=3.0,
                samples=5000,
                nfe=nfe,
                metrics={
                    "fid": Measurement(
                        value=value, std=0.1, values=list(replicates) or None, protocol=protocol
                    )
                },
            )
            for cost, value in points
        ],
        final={"fid": fid},
    )


def many_records(count: int) -> list[Record]:
    """The teacher, and three methods of three seeds each under as many settings as make ``count``
    runs, or a few more.
    """
    groups = [
        (method, setting, seed)
        for setting in range(-(-(count - 1) // 9))
        for method in ("sid", "dmd", "kd")
        for seed in range(3)
    ]
    curve = [(2**k, 50.0 / (k + 1)) for k in range(1, 8)]
    made = [
        record(method, seed, 1.5 + 0.001 * setting + 0.01 * seed, curve=curve, settings={"a": setting})
        for method, setting, seed in groups
    ]
    return [*made, record("teacher", 0, 1.6, nfe=35)]


def write(records: Sequence[Record], folder: Path) -> None:
    """Put records where runs are kept."""
    for i, made in enumerate(records):
        made.run_id = f"{i:05d}"
        run = RunFolder(folder / made.run_id)
        run.path.mkdir(parents=True)
        (run.path / "record.json").write_text(made.model_dump_json())
