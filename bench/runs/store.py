"""The results folder: runs found by what was asked, by name, and by what has changed since."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.errors import BenchError, UsageError, unknown
from bench.files.atomic import content_digest
from bench.files.code import CODE, input_digest
from bench.files.paths import written_path
from bench.runs.exported import exported_weights
from bench.runs.folder import RunFolder
from bench.runs.recipe import Recipe, Request, read_recorded, run_prefix
from bench.runs.record import Record

SUITE = Path(__file__).parents[2]
"""Where the packages of this suite lie, in a checkout or among installed packages."""
PACKAGES = ("bench", "methods", "teachers", "evals")


def results_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of all runs: the one given, else ``BENCH_RESULTS``, else ``results/runs``."""
    return written_path(folder or os.environ.get("BENCH_RESULTS") or "results/runs")


def find_asked(request: Request, results: Path) -> Record | None:
    """Find the latest run, in whatever state, that was asked for in these words."""
    return max(_answers(request, results), key=lambda record: record.started, default=None)


def find_finished(request: Request, results: Path) -> Record | None:
    """Find a finished run that answers exactly this request, without resolving it, which would
    import torch.

    The run must have been asked for in the same words, and no file that the words' meaning depended
    on may have changed.
    """
    return next((record for record in _finished(request, results) if not changed_inputs(record)), None)


def find_outdated(request: Request, results: Path) -> tuple[Record, list[Path]] | None:
    """Find the latest finished run that was asked for in these words, and which of its files have
    changed since.
    """
    outdated = [
        (record, changed)
        for record in _finished(request, results)
        if (changed := changed_inputs(record))
    ]
    return max(outdated, key=lambda pair: pair[0].started, default=None)


def _finished(request: Request, results: Path) -> list[Record]:
    return [record for record in _answers(request, results) if record.status == "done"]


def _answers(request: Request, results: Path) -> list[Record]:
    """Read the runs that were asked for in these words.

    Whoever needs one that cannot be read meets it again and says so.
    """
    records, _ = read_records(results, run_prefix(request.method, request.teacher, request.seed))
    return [record for record in records if _is_answer(record, request)]


def _is_answer(record: Record, request: Request) -> bool:
    """Tell whether a run was asked for in these words.

    A field of the request that is newer than the record has its default. Plugin files that the run did
    not use may be others.
    """
    try:
        asked = Request.model_validate(record.request)
    except ValidationError:
        return False  # of another version of this suite
    same = asked.model_copy(update={"plugins": request.plugins}) == request
    return same and set(record.recipe.plugins) <= set(request.plugins)


def input_name(path: Path) -> str:
    """Name a file that a run depends on: one of this suite's own by its place in it, any other by
    its path.
    """
    own = any(path.is_relative_to(SUITE / package) for package in PACKAGES)
    return str(path.relative_to(SUITE)) if own else str(path)


def changed_inputs(record: Record, digests: dict[Path, str] | None = None) -> list[Path]:
    """List the files that a run depended on and that are not as they were, or not there.

    ``digests`` keeps what has been digested, for those who ask of many runs.
    """
    known = {} if digests is None else digests
    changed = []
    for name, digest in record.inputs.items():
        path = SUITE / name  # which is the name itself if that is a whole path
        try:
            if path not in known:
                known[path] = input_digest(path) if path.exists() else ""
            now_is = (
                known[path]
                if digest.startswith(CODE) or not known[path].startswith(CODE)
                else content_digest(path)
            )
        except (UsageError, OSError):  # it cannot be read any more
            now_is = ""
        if now_is != digest:
            changed.append(path)
    return changed


def find_teacher(results: Path, recipe: Recipe) -> Record | None:
    """Find a recipe's teacher as a finished run, sampled its own way and measured as the recipe says."""
    plan = recipe.evaluation
    # Plans by one protocol may differ in what they measure, and in where its files lie.
    apart = {"metrics", "repeats", "points", "extractor_path", "reference", "code"}
    prefix = run_prefix("teacher", recipe.teacher, 0).removesuffix("0-")
    for record in read_records(results, prefix)[0]:
        try:
            own = read_recorded(record.recipe, record.run_id)
        except UsageError:
            continue  # of another version of this suite
        if (
            record.status == "done"
            and own_way(own.settings)
            and plan
            and own.evaluation
            and own.evaluation.model_dump(exclude=apart) == plan.model_dump(exclude=apart)
            and own.teacher_digest == recipe.teacher_digest
            and own.teacher_code == recipe.teacher_code
            and set(plan.metrics) <= set(record.final)
        ):
            return record
    return None


def own_way(settings: Mapping[str, Any]) -> bool:
    """Tell by its settings whether a teacher was sampled by its own sampler, unchanged."""
    return all(settings.get(name) is None for name in ("steps", "solver", "churn"))


def read_runs(results: Path, prefix: str = "") -> tuple[list[tuple[RunFolder, Record]], list[str]]:
    """Read the runs of a results folder whose names begin with ``prefix``.

    Returns their folders with their records, and a sentence for each run that was skipped.
    """
    traces = ("recipe.yaml", "metrics.jsonl", "checkpoints", "samples")
    runs, skipped = [], []
    with uncollected():
        names = os.listdir(results) if results.is_dir() else ()
        for name in sorted(name for name in names if name.startswith(prefix)):
            folder = RunFolder(results / name)
            try:
                record = folder.read_record()
            except BenchError as error:
                skipped.append(str(error))
                continue
            if record is not None:
                runs.append((folder, record))
            elif exported_weights(folder.path) is None and any(
                (folder.path / trace).exists() for trace in traces
            ):
                skipped.append(
                    f"the run {folder.path} has no record.json; copy it again, or repeat the run."
                )
    return runs, skipped


def read_records(results: Path, prefix: str = "") -> tuple[list[Record], list[str]]:
    """Read the records of a results folder, and return a sentence for each run that was skipped."""
    runs, skipped = read_runs(results, prefix)
    return [record for _, record in runs], skipped


def find_folder(name: str, results: Path) -> RunFolder:
    """Find a run's folder by its path, by the run's id, or by the beginning of its id.

    A path is a name with a separator in it, or "." or ".."; any other name is looked for in ``results``
    alone. Raises UsageError where there is none, and where there are several.
    """
    if not name:
        raise UsageError("a run's name is empty; `bench list runs` shows what there is.")
    is_path = os.sep in name or name in (os.curdir, os.pardir)
    # False for a name that is too long.
    if is_path and os.path.isfile(os.path.join(name, "record.json")):
        return RunFolder(Path(name))
    known = [file.parent.name for file in sorted(results.glob("*/record.json"))]
    matches = [run for run in known if run.startswith(name)]
    matches = [run for run in matches if run == name] or matches
    if len(matches) > 1:
        raise UsageError(
            f"{name!r} is the beginning of {len(matches)} runs: {', '.join(matches)}; give more of it."
        )
    if not matches:
        if name in registry.teachers.entries():
            raise UsageError(f"{name!r} is a teacher and no run; say teacher:{name}.")
        raise unknown("run", name, known)
    return RunFolder(results / matches[0])


def find_run(name: str, results: Path) -> tuple[RunFolder, Record]:
    """Find a run as ``find_folder`` does, and read its record."""
    folder = find_folder(name, results)
    record = folder.read_record()
    assert record is not None
    return folder, record


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector of reference cycles while the context lasts.

    Records form none, and without it reading thousands of them takes a quarter of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
