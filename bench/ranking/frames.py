"""Records as tidy tables of pandas: one number in a row, with all that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bench.ranking.finals import final_numbers
from bench.ranking.variants import group_of, measured_how
from bench.runs.budget import AXES
from bench.runs.record import Record

if TYPE_CHECKING:
    import pandas as pd

_RUN = ["run_id", "method", "teacher", "seed", "group"]
_NUMBER = ["metric", "protocol", "fingerprint", "direction", "value", "std"]


def final_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row for each finished run and metric: the run, its cost, the value, and the protocol."""
    rows = [
        {
            **_run(final.record, final.group),
            "metric": final.metric,
            "protocol": final.protocol,
            "fingerprint": final.fingerprint,
            "direction": final.record.direction(final.metric),
            "value": final.value,
            "std": final.std,
            "nfe": final.record.nfe,
            "data_free": final.record.data_free,
            "tuning": final.record.tuning.runs,
            "tuning_flops": final.record.tuning.flops,
            **{axis: getattr(final.record.cost, axis) for axis in AXES},
        }
        for final in final_numbers(records)
    ]
    return _frame(rows, [*_RUN, *_NUMBER, "nfe", "data_free", "tuning", "tuning_flops", *AXES])


def curve_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row for each evaluation along each run, finished or not, and metric: the run and its
    status, what had been spent by then on every axis, the value, and the protocol.
    """
    rows = [
        {
            **_run(record, group),
            "status": record.status,
            **{axis: getattr(point, axis) for axis in AXES},
            "nfe": point.nfe,
            "samples": point.samples,
            "metric": metric,
            "protocol": measured.protocol,
            "fingerprint": measured_how(record, metric),
            "direction": record.direction(metric),
            "value": measured.value,
            "std": measured.std,
        }
        for record in records
        for group in [group_of(record)]
        for point in record.evaluations
        for metric, measured in point.metrics.items()
    ]
    return _frame(rows, [*_RUN, "status", *AXES, "nfe", "samples", *_NUMBER])


def _run(record: Record, group: str) -> dict[str, Any]:
    facts = {name: getattr(record, name) for name in ("run_id", "method", "teacher", "seed")}
    return facts | {"group": group}


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd  # takes half a second, which a table can do without

    return pd.DataFrame(rows, columns=columns)
