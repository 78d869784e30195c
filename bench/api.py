"""The suite from Python: ``bench.run(...)`` and ``bench.results(...)``; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.files import require_writable
from bench.recipe import Request, make_request
from bench.record import Record
from bench.store import find_finished, find_teacher, read_records, results_folder

if TYPE_CHECKING:
    import pandas as pd

    from bench.events import Event
    from bench.job import Job

Watch = Callable[["Job", "Event", Record | None], None]
"""Called with each event of a run: its job, the event, and the teacher's own record if it is known."""


def run(
    method: str, teacher: str, *, results: Path | str | None = None, device: str = "auto", fresh: bool = False, **request: Any
) -> Record:
    """Carry out one run and return its record; a finished one is returned at once.

    ``request`` takes ``budget="images=200k"``, ``seed=0``, ``settings={"alpha": 1.0}``, ``eval=["fid"]``, ``eval_samples``,
    ``eval_repeats``, ``eval_points``, ``protocol``, ``teacher_path`` and ``plugins``. Raises BenchError or one of its kinds.
    """
    asked = make_request(method=method, teacher=teacher, **request)
    return carry_out(asked, results_folder(Path(results) if results else None), device=device, fresh=fresh)


def carry_out(
    request: Request,
    results: Path,
    *,
    device: str = "auto",
    fresh: bool = False,
    with_teacher: bool = False,
    watch: Watch = lambda job, event, teacher: None,
) -> Record:
    """Find the finished run that answers the request, or resolve the request and run it.

    ``with_teacher`` first measures the teacher by the same protocol, as a run of its own, unless that has been done.
    """
    if not fresh and (found := find_finished(request, results)):
        return found
    from bench.environment import choose_device, choose_precision
    from bench.events import Finished
    from bench.job import resolve
    from bench.runner import execute

    job = resolve(request)
    where = choose_device(device)
    choose_precision(job.settings.precision, where)
    require_writable(results, "results folder")
    teacher_record = None
    if job.recipe.evaluation and job.method_class.trains:
        teacher_record = find_teacher(results, job.recipe)
        if teacher_record is None and with_teacher:
            teacher_record = _measure_teacher(job, results, device, watch)
    for event in execute(job, results, where, fresh=fresh):
        watch(job, event, teacher_record)
        if isinstance(event, Finished):
            return event.record
    raise BenchError("the run ended without a record.")


def _measure_teacher(job: Job, results: Path, device: str, watch: Watch) -> Record | None:
    """The row everything is compared with. A failure here does not stop the run that wanted it."""
    plan = job.recipe.evaluation
    assert plan is not None
    fields = job.request.model_dump(include={"teacher", "teacher_path", "plugins"})
    try:
        return carry_out(
            make_request(
                method="teacher",
                **fields,
                eval=job.request.eval,
                eval_samples=job.request.eval_samples,
                eval_repeats=job.request.eval_repeats,
                protocol=job.request.protocol,
            ),
            results,
            device=device,
            watch=watch,
        )
    except BenchError:
        return None


def results(folder: Path | str | None = None) -> pd.DataFrame:
    """Every final number of every finished run below ``folder``, one row for each run and metric."""
    from bench.leaderboard import frame

    records, _ = read_records(results_folder(Path(folder) if folder else None))
    return frame(records)
