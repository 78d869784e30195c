"""One run from recipe to record: sampled or trained in its folder, where it continues after an
interruption.
"""

import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from bench import distributed, environment
from bench.errors import BenchError, Interrupted, UsageError
from bench.runs.budget import Ledger
from bench.runs.events import Finished, Note, Observer, Started, ignore
from bench.runs.folder import RunFolder, SharedRunFolder, now
from bench.runs.record import Beginning, Environment, Record, RecordedRecipe, RecordedTuning
from bench.training.job import Job
from bench.training.loop import train
from bench.training.recorder import Recorder, note_peak_memory
from bench.training.signals import StopRequest, stop_requests


def execute(
    job: Job,
    results: Path,
    observe: Observer = ignore,
    *,
    fresh: bool = False,
    teacher: Record | None = None,
) -> Record:
    """Carry out a job in its run folder: continue it where it stopped, or answer from its record if
    it is finished.

    Args:
        job: what to do.
        results: the folder of run folders.
        observe: is shown how the run goes.
        fresh: start over, whatever there is.
        teacher: the teacher's own record, which those who watch may want to see beside this run.

    Raises Held if another process holds the run; Interrupted after SIGINT or SIGTERM, with what was
    done saved; BenchError if the run fails. In the last two cases the record says so.
    """
    environment.set_precision(job.settings.precision)
    environment.choose_threads(job.teacher.denoiser)
    environment.set_deterministic(job.request.deterministic, job.device)
    path = results / job.recipe.run_id
    folder = RunFolder(path) if distributed.is_main() else SharedRunFolder(path)
    with folder.locked():
        if fresh:
            folder.clear()
        distributed.wait_for_all()
        previous = folder.read_record()
        distributed.wait_for_all()  # before the main process writes it
        if previous is not None and previous.status == "done":
            if late := [f"--{flag}" for flag in ("milestones", "track") if getattr(job.request, flag)]:
                why = f"the run {previous.run_id} is finished, too late for {' and '.join(late)}"
                observe(Note(f"{why}; --fresh carries it out again"))
            observe(Finished(previous, reused=True))
            return previous
        if previous is None and folder.states():
            raise BenchError(
                f"the run {str(path)!r} has checkpoints and no record of what was measured on the way; bring "
                "its record.json back, or start over with --fresh."
            )
        record = _new_record(job, previous)
        observe(Started(record, job.method_class.trains, teacher))
        with stop_requests("stopping after this update; once more to stop at once") as stop:
            try:
                _work(job, folder, record, observe, stop)
            except SystemExit as error:
                ended = BenchError(
                    f"something in the run called sys.exit({error.code!r}) before it was done."
                )
                _close(folder, record, ended, job.device)
                raise ended from error
            except torch.OutOfMemoryError as error:
                ended = BenchError(_out_of_memory(job))
                _close(folder, record, ended, job.device)
                raise ended from error
            except OSError as error:
                ended = BenchError(
                    f"the run could not go on ({error.strerror or error}: {error.filename or path}); make "
                    "room, or see to its permissions. The same command continues from the last checkpoint."
                )
                _close(folder, record, ended, job.device)
                raise ended from error
            except BaseException as error:
                _close(folder, record, error, job.device)
                raise
    observe(Finished(record))
    if job.budget is None and distributed.world_size() > 1 and any(distributed.largest(stop.requested)):
        raise Interrupted("stopped after the teacher's run, which is done; the same command continues.")
    return record


def _work(job: Job, folder: RunFolder, record: Record, observe: Observer, stop: StopRequest) -> None:
    torch.manual_seed(job.recipe.seed)
    job.teacher.to(job.device)
    if job.budget is not None:
        train(job, job.budget, folder, record, observe, stop)
        return
    method = job.make_method()
    recorder = Recorder(job, folder, record, observe, stop)
    recorder.open(method)
    if recorder.evaluator is not None:
        observe(Note(f"sampling {job.recipe.teacher} with {method.nfe} evaluations an image"))
        recorder.evaluate(method, Ledger(), last=True)
    recorder.finish(method)


def _out_of_memory(job: Job) -> str:
    """Say which option helps."""
    batch, asked = getattr(job.settings, "batch", 1), job.request.batch_gpu
    at_once = asked if isinstance(asked, int) else batch // distributed.world_size()
    return (
        f"the memory of {environment.device_name(job.device)} does not hold {at_once} images at once; give "
        f"--batch-gpu {max(at_once // 2, 1)}, which changes no result, or --batch-gpu auto. The run "
        "continues from its last checkpoint."
    )


def _new_record(job: Job, previous: Record | None) -> Record:
    return Record(
        run_id=job.recipe.run_id,
        method=job.recipe.method,
        teacher=job.recipe.teacher,
        seed=job.recipe.seed,
        recipe=RecordedRecipe.model_validate(job.recipe.model_dump(mode="json")),
        recipe_hash=job.recipe.hash(),
        request=job.request.model_dump(mode="json"),
        inputs=job.inputs,
        sources=job.hyperparameters.sources,
        images=asdict(job.teacher.image_spec),
        requires=[type(requirement).__name__ for requirement in job.method_class.requires(job.settings)],
        data_free=job.method_class.data_free(job.settings),
        cost=previous.cost if previous else Ledger(),
        evaluations=previous.evaluations if previous else [],
        tuning=RecordedTuning.model_validate(job.hyperparameters.tuning),
        environment=Environment.model_validate(environment.describe(job.device, job.settings.precision)),
        started=previous.started if previous else now(),
        rollbacks=previous.rollbacks if previous else [],
        beginning=previous.beginning if previous else Beginning(),
    )


def _close(folder: RunFolder, record: Record, error: BaseException, device: torch.device) -> None:
    """Write how a run came to its end before it was done.

    A run that was refused before it began leaves no folder.
    """
    if isinstance(error, UsageError) and folder.read_record() is None:
        if distributed.is_main():  # alone: two at once would stumble over each other
            shutil.rmtree(folder.path)
        return
    if isinstance(error, Interrupted):
        record.status = "interrupted"
    elif isinstance(error, Exception):
        record.status = "failed"
        record.error = (
            str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        )
    else:
        return  # stopped at once: the record stays as the last checkpoint left it
    if record.cost.updates:
        note_peak_memory(record, device)
    record.finished = now()
    with suppress(OSError):  # the disk may be full: the record stays as the last checkpoint left it
        folder.write_record(record)
