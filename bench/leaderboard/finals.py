"""The final numbers of finished runs, each with what makes it comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.leaderboard.variants import group_of, measured_how
from bench.runs.budget import AXES
from bench.runs.record import Measurement, Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Final:
    """One final number of one run."""

    record: Record
    group: str
    metric: str
    protocol: str
    fingerprint: str
    value: float
    std: float | None
    replicates: int

    @property
    def key(self) -> tuple[str, str]:
        return self.metric, f"{self.protocol}@{self.fingerprint}"


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each finished run and metric: the run, its cost, the value, its std over replicates, and the protocol."""
    import pandas as pd

    rows = [
        {
            "run_id": f.record.run_id,
            "method": f.record.method,
            "teacher": f.record.teacher,
            "seed": f.record.seed,
            "group": f.group,
            "metric": f.metric,
            "protocol": f.protocol,
            "fingerprint": f.fingerprint,
            "direction": f.record.direction(f.metric),
            "value": f.value,
            "std": f.std,
            "nfe": f.record.nfe,
            "data_free": f.record.data_free,
            "tuning": f.record.tuning.runs,
            **{axis: getattr(f.record.cost, axis) for axis in AXES},
        }
        for f in final_numbers(records)
    ]
    columns = "run_id method teacher seed group metric protocol fingerprint direction value std nfe data_free tuning"
    return pd.DataFrame(rows, columns=[*columns.split(), *AXES])


def final_numbers(records: Sequence[Record]) -> list[Final]:
    """Every final number of the finished runs; where papers quote the smallest of the replicates, that as a metric of its own."""
    found = []
    for record in records:
        if record.status != "done" or not record.evaluations:
            continue
        group = group_of(record)
        for name, m in record.evaluations[-1].metrics.items():
            of, count = measured_how(record, name), _replicates(record, m)
            found.append(Final(record, group, name, m.protocol, of, record.final[name], m.std, count))
            if m.smallest is not None:
                found.append(Final(record, group, f"{name}-min{count}", m.protocol, of, m.smallest, None, 1))
    return found


def smallest_of(record: Record) -> list[str]:
    """The metrics of a record that are the smallest of replicates, such as ``fid-min3``."""
    last = record.evaluations[-1].metrics.items() if record.evaluations else ()
    return [f"{name}-min{_replicates(record, m)}" for name, m in last if m.smallest is not None]


def _replicates(record: Record, measured: Measurement) -> int:
    plan = record.recipe.evaluation
    return len(measured.values or ()) or (plan and plan.repeats) or 1
