"""The suite from Python: runs and comparisons, their numbers as tables, and their generators.

The command line calls the same functions. What computes is imported where it is first needed, so
that a finished run is answered without torch, and its numbers without pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import distributed, registry
from bench.errors import BenchError, Interrupted, UsageError, few
from bench.files.atomic import require_writable
from bench.ranking.frames import curve_frame, final_frame
from bench.ranking.superseded import superseded
from bench.runs.events import Note, Observer, ignore
from bench.runs.grid import GridRun, grid_runs, repetitions, shared_seeds
from bench.runs.options import OF_TEACHER, EvaluationOptions
from bench.runs.recipe import Request, make_request
from bench.runs.record import Record
from bench.runs.store import find_finished, find_outdated, find_teacher, read_records, results_folder
from bench.runs.suite import Suite, make_suite, read_suite

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image
    from torch import Tensor

    from bench.evaluation.sampling import Sampler
    from bench.render.tables.table import Table


def run(
    method: str, teacher: str, *, results: Path | str | None = None, fresh: bool = False, **request: Any
) -> Record:
    """Carry out one run and return its record; a finished one is returned at once.

    Args:
        method: a method of ``bench list methods``.
        teacher: a teacher of ``bench list teachers``.
        results: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        fresh: start over, whatever there is.
        request: the fields of a request: ``budget="images=200k"``, ``seed=0``,
            ``settings={"alpha": 1.0}``, ``eval=["fid"]``, ``eval_samples``, ``eval_repeats``,
            ``eval_points``, ``protocol``, ``reference``, ``extractor_path``, ``fast``,
            ``kid_subset_size``, ``kid_subsets``, ``data``, ``teacher_path``, ``classes``, ``plugins``,
            ``device``, ``batch_gpu``, ``capture``, ``recompute``, ``compile``, ``channels_last``,
            ``on_divergence``, ``deterministic``, ``milestones``, ``keep`` and ``track``.

    Raises BenchError or one of its kinds. Training seeds torch's global generators.
    """
    whole = make_request(method=method, teacher=teacher, **request)
    return carry_out(whole, results_folder(results), fresh=fresh)


def carry_out(
    request: Request,
    results: Path,
    *,
    fresh: bool = False,
    with_teacher: bool = False,
    observe: Observer = ignore,
) -> Record:
    """Find the finished run that answers the request, or make a job of the request and carry it out.

    ``with_teacher`` first measures the teacher by the same protocol, as a run of its own, unless
    that has been done.
    """
    if not fresh and (finished := find_finished(request, results)):
        return finished
    if not fresh and (outdated := find_outdated(request, results)):
        record, changed = outdated
        observe(
            Note(
                f"the finished run {record.run_id} does not answer any more, as these have changed "
                f"since: {few(path.name for path in changed)}"
            )
        )
    from bench.environment import choose_device  # torch, from here on
    from bench.training.job import make_job
    from bench.training.run import execute
    from bench.training.track import tracked

    with distributed.process_group(choose_device(request.device)):
        job = make_job(request)
        require_writable(results, "results folder")
        teacher = None
        if job.recipe.evaluation and job.method_class.trains:
            teacher = find_teacher(results, job.recipe)
            if teacher is None and with_teacher:
                teacher = _measure_teacher(request, results, observe)
        with tracked(request.track, results, observe) as watch:
            return execute(job, results, watch, fresh=fresh, teacher=teacher)


def _measure_teacher(request: Request, results: Path, observe: Observer) -> Record | None:
    """Measure the teacher itself, which everything is compared with.

    A failure is noted, and does not stop the run that is to be compared.
    """
    same = {*EvaluationOptions.model_fields, *OF_TEACHER, "teacher"}
    alone = make_request(method="teacher", **request.model_dump(include=same))
    try:
        return carry_out(alone, results, observe=observe)
    except Interrupted:
        raise
    except BenchError as error:
        if distributed.world_size() > 1:  # the other processes are in the teacher's run
            raise
        observe(Note(f"the teacher's own row is missing: {error}"))
        return None


def compare(
    suite: Path | str | None = None,
    *,
    results: Path | str | None = None,
    processes: int | None = None,
    retry: bool = False,
    slurm: Mapping[str, str] | None = None,
    wait: bool = True,
    **fields: Any,
) -> pd.DataFrame:
    """Carry out a grid of runs, reusing finished ones, and return their final numbers as ``results`` does.

    Args:
        suite: a suite file.
        results: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        processes: runs at a time; by default one a GPU, or one a core.
        retry: take failed runs up again, which are left out otherwise.
        slurm: options of ``sbatch``, such as ``{"time": "4:00:00"}``, with which the runs are submitted
            to a cluster; without them they are processes of this machine.
        wait: wait for the runs on the cluster.
        fields: those of a suite, in place of the file's: ``methods``, ``teachers``, ``seeds``,
            ``budget`` and what ``run`` takes.
    """
    chosen = read_suite(Path(suite), fields) if suite else make_suite(fields)
    runs = carry_out_suite(
        chosen, results_folder(results), processes, retry=retry, slurm=slurm, wait=wait
    )
    return final_frame([run.record for run in runs if run.state == "done" and run.record is not None])


def carry_out_suite(
    suite: Suite,
    results: Path,
    processes: int | None = None,
    *,
    gpus_per_run: int = 1,
    retry: bool = False,
    slurm: Mapping[str, str] | None = None,
    wait: bool = True,
    observe: Observer = ignore,
) -> list[GridRun]:
    """Carry out a suite, here or on a cluster, and return how each of its runs stands.

    Raises UsageError, before any run begins, for a name, setting, budget, metric or protocol that
    cannot be.
    """
    # Here because of torch.
    from bench.launching.job_array import make_job_array
    from bench.launching.local import Launcher, runs_at_once, visible_gpus
    from bench.launching.slurm import SlurmLauncher
    from bench.training.job import check_suite  # as above

    requests = check_suite(suite, observe)
    runs = grid_runs(requests, results, retry=retry)
    for sentence in [*shared_seeds(requests, results), *repetitions(runs)]:
        observe(Note(f"{sentence}."))
    if slurm is not None:
        array = make_job_array(slurm, suite.device, gpus_per_run, processes)
        SlurmLauncher(runs, results, array).carry_out(observe, wait=wait)
        return runs
    gpus = visible_gpus(suite.device)
    at_once = runs_at_once(gpus, gpus_per_run)
    Launcher(runs, results, processes or at_once, gpus, gpus_per_run).carry_out(observe)
    return runs


def suite_script(
    suite: Suite,
    results: Path,
    processes: int | None = None,
    *,
    slurm: Mapping[str, str],
    gpus_per_run: int = 1,
    retry: bool = False,
) -> str:
    """Write the script for ``sbatch`` that carries out what a suite still waits for.

    Raises UsageError as ``carry_out_suite`` does, and where nothing waits.
    """
    # Here because of torch.
    from bench.launching.job_array import make_job_array
    from bench.launching.sbatch import sbatch_script
    from bench.training.job import check_suite  # as above

    array = make_job_array(slurm, suite.device, gpus_per_run, processes)
    runs = grid_runs(check_suite(suite), results, retry=retry)
    waiting = [run.request for run in runs if run.state == "waiting"]
    if not waiting:
        raise UsageError(
            "no run waits: all are finished, or failed before (--retry); `bench table` shows them."
        )
    return sbatch_script(waiting, results, array)


def results(folder: Path | str | None = None, *, include_superseded: bool = False) -> pd.DataFrame:
    """Return every final number of every finished run below ``folder``, one row for each run and metric.

    Runs whose code has changed and that newer runs supersede are left out, unless they are asked for.
    """
    return final_frame(_records(folder, include_superseded))


def curves(folder: Path | str | None = None, *, include_superseded: bool = False) -> pd.DataFrame:
    """Return every evaluation along every run below ``folder``, one row for each point and metric.

    Runs that are not finished are among them; ``status`` tells. Superseded ones are as in ``results``.
    """
    return curve_frame(_records(folder, include_superseded))


def _records(folder: Path | str | None, include_superseded: bool) -> list[Record]:
    records, _ = read_records(results_folder(folder))
    left_out = {} if include_superseded else superseded(records)
    return [record for record in records if record.run_id not in left_out]


def leaderboard(
    folder: Path | str | None = None,
    *,
    teachers: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    published: bool = False,
    include_superseded: bool = False,
) -> Table:
    """Rank the finished runs below ``folder``, as ``bench table`` does; runs that differ only in their
    seed make one row.

    Args:
        folder: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        teachers: only these.
        methods: only these.
        metrics: those that are shown; the first one ranks.
        columns: names of columns, as ``bench table --columns`` takes them.
        published: show published numbers as well, set apart and without rank.
        include_superseded: show runs that newer ones replace as well, as their code has changed.

    Returns a table that a notebook shows; its ``text(form)`` is the table in any format.
    """
    # Here because of scipy's tests, which a run does without.
    from bench.ranking.leaderboard import leaderboard as ranked
    from bench.ranking.leaderboard import published_beside
    from bench.ranking.rows import Choice
    from bench.render.tables.bibtex import cited  # as above
    from bench.render.tables.table import Table  # as above

    records = [r for r in _records(folder, include_superseded) if not r.request.get("trial")]
    others = published_beside(records, teachers) if published else []
    board = ranked(records, metrics=metrics, choice=Choice(teachers, methods), published=others)
    return Table(cited(board), columns)


def load_generator(
    name: Path | str,
    *,
    results: Path | str | None = None,
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    path: Path | str | None = None,
    classes: int | None = None,
    plugins: Sequence[str] = (),
) -> Sampler:
    """Open a generator as a function that returns images: ``load_generator(name)(16, seed=0)``.

    Args:
        name: a run by its folder or id, its weights file, what was exported, ``teacher:NAME``, or
            ``released:NAME``.
        results: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: those of a teacher's sampler: ``steps``, ``solver``, ``churn``.
        path: a file in place of the usual weights; for a run, of its teacher's.
        classes: number of classes that are drawn, where the network knows more.
        plugins: files that register the method or the teacher.

    Raises UsageError for a name that means nothing and for weights that do not fit.
    """
    # Here because of torch.
    from bench.evaluation.sampling import Sampler
    from bench.factory import open_generator

    for plugin in plugins:
        registry.load_plugin(plugin)
    opened = open_generator(
        str(name),
        results_folder(results),
        device=device,
        settings=settings,
        path=None if path is None else str(path),
        classes=classes,
    )
    return Sampler(opened)


def export(
    name: Path | str,
    output: Path | str,
    *,
    form: str = "safetensors",
    results: Path | str | None = None,
    path: Path | str | None = None,
    plugins: Sequence[str] = (),
) -> Path:
    """Write a trained generator into a new folder, with its recipe and a model card; return the folder.

    Args:
        name: a run by its folder or id, or its weights file.
        output: the folder, which is not there yet or is empty.
        form: ``safetensors``; ``hf``, as Hugging Face names things; or ``onnx``, a graph.
        results: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        path: a file in place of the teacher's usual weights.
        plugins: files that register the method or the teacher.

    Raises UsageError, and leaves nothing behind, for what cannot be exported so or there.
    """
    from bench.evaluation.export import export_into  # here because of torch
    from bench.render.model_card import model_card  # which others do without

    for plugin in plugins:
        registry.load_plugin(plugin)
    teacher_path = None if path is None else str(path)
    return export_into(output, str(name), form, model_card, results_folder(results), teacher_path)


def picture(images: Tensor, columns: int | None = None) -> Image:
    """Return images (N, C, H, W) in [-1, 1] as one picture, ``columns`` in a row, by default a square."""
    from bench.evaluation.pictures import picture_of  # here because of torch

    return picture_of(images, columns)
