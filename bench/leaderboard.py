"""From records to a leaderboard: runs that differ only in their seed are one row; every number keeps its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.grouping import group_of, measured_how, variants
from bench.record import Measurement, Record
from bench.significance import ranks


@dataclass(frozen=True)
class Column:
    """One metric under one protocol. ``label`` is the protocol's id, marked where two protocols share it."""

    metric: str
    protocol: str
    label: str
    direction: str

    @property
    def key(self) -> str:
        """Name of the column in data formats: ``fid_digits-5k``."""
        return f"{self.metric}_{self.label}"


@dataclass(frozen=True)
class Number:
    """A mean over ``seeds`` and its standard deviation: over the seeds, or over evaluation replicates if there is one."""

    mean: float
    std: float | None
    values: tuple[float, ...]
    """Of the seeds."""

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.values)


@dataclass(frozen=True)
class Row:
    """One method on one teacher at one setting."""

    teacher: str
    method: str
    variant: str
    """What sets this row apart from the method's other rows, such as ``alpha=1.0``."""
    seeds: int
    nfe: int
    data_free: bool
    tuning: int | None
    """Runs that were tried before these settings, if that is known."""
    images: float
    updates: float
    flops: float
    seconds: float
    numbers: dict[Column, Number]
    rank: str = "-"
    """Among the trained ones of its teacher by the first column: 1, and one for each that is better by Welch's test at 5 %. Those
    that share a rank have ``=``; one seed alone has no rank."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that it is made of."""


@dataclass(frozen=True)
class Leaderboard:
    """Columns and rows, best first within each teacher by the first column."""

    columns: list[Column]
    rows: list[Row]


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each finished run and metric: the run, its cost, the value, its std over replicates, and the protocol."""
    rows = [
        {
            "run_id": r.run_id,
            "method": r.method,
            "teacher": r.teacher,
            "seed": r.seed,
            "group": group_of(r),
            "metric": column,
            "protocol": m.protocol,
            "fingerprint": measured_how(r, name),
            "direction": r.direction(name),
            "value": value,
            "std": std,
            "nfe": r.nfe,
            "data_free": not {"TeacherPairs", "RealImages"} & set(r.requires),
            "tuning": r.tuning.get("runs"),
            **{axis: r.cost[axis] for axis in ("images", "updates", "flops", "seconds")},
        }
        for r in records
        if r.status == "done" and r.evaluations
        for name, m in r.evaluations[-1].metrics.items()
        for column, value, std in _values(r, name, m)
    ]
    columns = "run_id method teacher seed group metric protocol fingerprint direction value std nfe data_free tuning"
    return pd.DataFrame(rows, columns=[*columns.split(), "images", "updates", "flops", "seconds"])


def _values(record: Record, name: str, measured: Measurement) -> list[tuple[str, float, float | None]]:
    """A metric's number and its std; and where papers quote the smallest of the replicates, that as a column of its own."""
    smallest, values = measured.smallest, [(name, record.final[name], measured.std)]
    return values if smallest is None else [*values, (f"{name}-min{len(measured.values or ())}", smallest, None)]


def leaderboard(records: Sequence[Record], teacher: str | None = None, metrics: Sequence[str] | None = None) -> Leaderboard:
    """The table of all finished runs, of one teacher and some metrics if asked."""
    records = [r for r in records if r.status == "done" and (teacher is None or r.teacher == teacher)]
    data = frame(records)
    if metrics:
        data = data[data["metric"].isin(metrics)]
    columns = _columns(data, metrics)
    groups: dict[str, list[Record]] = {}
    for r in records:
        groups.setdefault(group_of(r), []).append(r)
    told = variants(groups)
    rows = [_row(group, columns, told) for _, group in data.groupby(["teacher", "method", "group"], sort=True)]
    rows.sort(key=lambda row: (row.teacher, *_rank(row, columns)))
    return Leaderboard(columns, _ranked(rows, columns))


def _ranked(rows: list[Row], columns: list[Column]) -> list[Row]:
    """The rows with their ranks by the first column, each teacher's for themselves."""
    told = dict.fromkeys(range(len(rows)), "-")
    for teacher in {row.teacher for row in rows} if columns else ():
        trained = [i for i, r in enumerate(rows) if r.teacher == teacher and r.updates and _seeds(r, columns[0]) > 1]
        found = ranks([rows[i].numbers[columns[0]].values for i in trained], columns[0].direction)
        told |= {i: f"{rank}=" if found.count(rank) > 1 else f"{rank}" for i, rank in zip(trained, found, strict=True)}
    return [replace(row, rank=told[i]) for i, row in enumerate(rows)]


def _seeds(row: Row, column: Column) -> int:
    return row.numbers[column].seeds if column in row.numbers else 0


def _columns(data: pd.DataFrame, metrics: Sequence[str] | None) -> list[Column]:
    keys = data[["metric", "protocol", "fingerprint", "direction"]].drop_duplicates()
    versions = keys.groupby(["metric", "protocol"])["fingerprint"].nunique()
    order = {name: i for i, name in enumerate(metrics or keys["metric"].drop_duplicates())}
    columns = [
        Column(
            metric,
            f"{protocol}@{fingerprint}",
            protocol if versions[metric, protocol] == 1 else f"{protocol}@{fingerprint[:6]}",
            direction,
        )
        for metric, protocol, fingerprint, direction in keys.itertuples(index=False)
    ]
    runs = data.groupby(data["protocol"] + "@" + data["fingerprint"])["run_id"].nunique()
    return sorted(columns, key=lambda c: (order[c.metric], -runs[c.protocol], c.label))  # the usual protocol ranks


def _row(group: pd.DataFrame, columns: list[Column], told: dict[str, str]) -> Row:
    first, runs = group.iloc[0], group.drop_duplicates("seed", keep="last")
    numbers = {}
    for column in columns:
        own = group[(group["metric"] == column.metric) & (group["protocol"] + "@" + group["fingerprint"] == column.protocol)]
        own = own.drop_duplicates("seed", keep="last")  # a seed measured twice, by other points or repeats, is one seed
        if len(own):
            std = own["value"].std() if len(own) > 1 else own["std"].iloc[0]
            numbers[column] = Number(float(own["value"].mean()), None if pd.isna(std) else float(std), tuple(own["value"]))
    return Row(
        teacher=first["teacher"],
        method=first["method"],
        variant=told.get(first["group"], ""),
        seeds=len(runs),
        nfe=int(first["nfe"]),
        data_free=bool(first["data_free"]),
        tuning=None if pd.isna(first["tuning"]) else int(first["tuning"]),
        numbers=numbers,
        images=float(runs["images"].mean()),
        updates=float(runs["updates"].mean()),
        flops=float(runs["flops"].mean()),
        seconds=float(runs["seconds"].mean()),
        runs=tuple(group["run_id"].unique()),
    )


def _rank(row: Row, columns: list[Column]) -> tuple[float, ...]:
    return tuple(
        (row.numbers[c].mean if c.direction == "lower" else -row.numbers[c].mean) if c in row.numbers else float("inf")
        for c in columns
    )
