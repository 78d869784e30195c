"""The suite from Python: ``bench.run(...)`` and ``bench.results(...)``; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, Interrupted
from bench.files.atomic import require_writable
from bench.runs.recipe import EvaluationOptions, Request, make_request
from bench.runs.record import Record
from bench.runs.store import find_finished, find_teacher, read_records, results_folder

if TYPE_CHECKING:
    import pandas as pd

    from bench.runs.events import Event
    from bench.runs.grid import GridRun
    from bench.runs.suite import Suite
    from bench.training.job import Job

Watch = Callable[["Job", "Event", Record | None], None]
"""Called with each event of a run: its job, the event, and the teacher's own record if it is known."""


def run(method: str, teacher: str, *, results: Path | str | None = None, fresh: bool = False, **request: Any) -> Record:
    """Carry out one run and return its record; a finished one is returned at once.

    ``request`` takes ``budget="images=200k"``, ``seed=0``, ``settings={"alpha": 1.0}``, ``eval=["fid"]``, ``eval_samples``,
    ``eval_repeats``, ``eval_points``, ``protocol``, ``reference``, ``extractor_path``, ``fast``, ``data``,
    ``teacher_path``, ``plugins`` and ``device``. Raises BenchError or one of its kinds. Training seeds torch's global generators.
    """
    asked = make_request(method=method, teacher=teacher, **request)
    return carry_out(asked, results_folder(Path(results) if results else None), fresh=fresh)


def carry_out(
    request: Request,
    results: Path,
    *,
    fresh: bool = False,
    with_teacher: bool = False,
    watch: Watch = lambda job, event, teacher: None,
) -> Record:
    """Find the finished run that answers the request, or resolve the request and run it.

    ``with_teacher`` first measures the teacher by the same protocol, as a run of its own, unless that has been done.
    """
    if not fresh and (found := find_finished(request, results)):
        return found
    from bench.runs.events import Finished
    from bench.training.job import make_job
    from bench.training.run import execute

    job = make_job(request)
    require_writable(results, "results folder")
    teacher_record = None
    if job.recipe.evaluation and job.method_class.trains:
        teacher_record = find_teacher(results, job.recipe)
        if teacher_record is None and with_teacher:
            teacher_record = _measure_teacher(job, results, watch)
    for event in execute(job, results, fresh=fresh):
        watch(job, event, teacher_record)
        if isinstance(event, Finished):
            return event.record
    raise BenchError("the run ended without a record.")


def _measure_teacher(job: Job, results: Path, watch: Watch) -> Record | None:
    """The row everything is compared with. A failure here is told, and does not stop the run that wanted it."""
    from bench.runs.events import Note

    same = {*EvaluationOptions.model_fields, "teacher", "teacher_path", "plugins", "device"}
    request = make_request(method="teacher", **job.request.model_dump(include=same))
    try:
        return carry_out(request, results, watch=watch)
    except Interrupted:
        raise
    except BenchError as error:
        watch(job, Note(f"the teacher's own row is missing: {error}"), None)
        return None


def compare(
    suite: Path | str | None = None,
    *,
    results: Path | str | None = None,
    processes: int | None = None,
    retry: bool = False,
    **fields: Any,
) -> pd.DataFrame:
    """Carry out a grid of runs, reusing finished ones, and return their final numbers as ``results`` does.

    ``suite`` is a suite file; ``fields`` are those of a suite and override it: ``methods``, ``teachers``, ``seeds``, ``budget``
    and what ``run`` takes. A run that fails is left out; ask again with ``retry``. There is one process a GPU, or one a core,
    unless ``processes`` says otherwise.
    """
    from bench.leaderboard.finals import frame
    from bench.runs.suite import make_suite, read_suite

    chosen = read_suite(Path(suite), fields) if suite else make_suite(fields)
    cells = compare_cells(chosen, results_folder(Path(results) if results else None), processes, retry=retry)
    return frame([cell.record for cell in cells if cell.state == "done" and cell.record is not None])


def compare_cells(
    suite: Suite,
    folder: Path,
    processes: int | None = None,
    *,
    retry: bool = False,
    watch: Callable[[list[GridRun]], None] = lambda cells: None,
) -> list[GridRun]:
    """Carry out a suite and return how each of its runs stands.

    Raises UsageError, before any run begins, for a name, setting, budget, metric or protocol that cannot be.
    """
    from bench.environment import cores
    from bench.runs.grid import grid_runs
    from bench.training.job import check_suite
    from bench.training.launch import Grid, visible_gpus

    requests = check_suite(suite)
    gpus = visible_gpus(suite.device)
    cells = grid_runs(requests, folder, retry=retry)
    Grid(cells, folder, processes or len(gpus) or cores(), gpus).carry_out(watch)
    return cells


def results(folder: Path | str | None = None) -> pd.DataFrame:
    """Every final number of every finished run below ``folder``, one row for each run and metric."""
    from bench.leaderboard.finals import frame

    records, _ = read_records(results_folder(Path(folder) if folder else None))
    return frame(records)
