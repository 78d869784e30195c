"""The runs that a table, a plot or a report is made of, and what to say where there are none."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench import registry
from bench.cli.options import one_of
from bench.errors import BenchError
from bench.runs.record import Record

FIRST_RUN = "such as `bench run --method sid --teacher edm-digits`, or name its folder with --results."
"""How a person comes by a run where there is none."""


def known_names(records: Sequence[Record]) -> dict[str, set[str]]:
    """Collect the teachers, methods and metrics that are registered or that records are of."""
    return {
        "teacher": {*registry.teachers.entries(), *(record.teacher for record in records)},
        "metric": {*registry.metrics.entries(), *(name for record in records for name in record.final)},
        "method": {*registry.methods.entries(), *(record.method for record in records)},
    }


def require_known(known: Mapping[str, set[str]], choice: Mapping[str, Iterable[str] | None]) -> None:
    """Raise UsageError for a teacher, metric or method that is not known."""
    for what, names in choice.items():
        for name in names or ():
            one_of(what, name, known[what])


def nothing_to_show(of: str, results: Path, records: Iterable[Record]) -> BenchError:
    """Make the error of a table or a report without rows: say what the runs lack, and what to do."""
    finished = [record for record in records if record.status == "done"]
    if finished and not any(record.final for record in finished):
        return BenchError(
            f"the finished runs in {str(results)!r} measured nothing (--eval none); `bench eval RUN` "
            "measures one, and the same run with --eval fid is in the table."
        )
    return BenchError(f"no finished run{of} in {str(results)!r}; make one, {FIRST_RUN}")


def unfinished(records: Sequence[Record], teachers: Sequence[str] | None) -> list[str]:
    """Write which runs of these teachers, or of all, are not finished: one sentence, or none."""
    ids = [
        r.run_id for r in records if r.status != "done" and (teachers is None or r.teacher in teachers)
    ]
    return [f"not finished: {', '.join(ids)}."] if ids else []
