"""Repeating the first updates of a run, to tell whether this machine makes its weights again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from bench import environment
from bench.errors import Interrupted, UsageError, few
from bench.runs.events import Observer, Working, ignore
from bench.runs.recipe import make_request, read_recorded
from bench.runs.record import Record
from bench.runs.store import changed_inputs, find_run
from bench.training.job import make_job
from bench.training.loop import beginning_of, prepare_method, prepare_trainer
from bench.training.signals import stop_requests


@dataclass(frozen=True)
class Repetition:
    """What came of repeating a run's first updates."""

    record: Record
    updates: int
    equal: bool | None
    """True if the weights are the same, to the bit; None where the record does not know them."""
    elsewhere: list[str]
    """What the run had otherwise than this machine has it, in words."""
    changed_files: list[str] | None
    """Files of the run that are not as it left them; None if it did not say what it left."""


def repeat(name: str, results: Path, device: str = "auto", observe: Observer = ignore) -> Repetition:
    """Repeat the first updates of a run that is named by its folder or id. Writes nothing.

    Raises UsageError for a run that this code would not carry out again.
    """
    folder, record = find_run(name, results)
    beginning = record.beginning
    if not beginning.updates:
        return Repetition(record, 0, None, [], folder.changed_files())
    recipe = read_recorded(record.recipe, record.run_id)
    on_gpu = environment.choose_device(device).type == "cuda"
    fields = recipe.as_request() | {
        "device": device,
        "batch_gpu": record.environment.batch_gpu,
        "capture": record.environment.captured and on_gpu,
        "recompute": record.environment.recomputed,
        "compile": record.environment.compiled,
        "channels_last": record.environment.channels_last,
        "eval": [],
    }
    job = make_job(make_request(**fields))
    same = {"method_digest", "teacher_digest", "teacher_code", "supplies", "plugin_code"}
    if changed := [n for n in sorted(same) if getattr(job.recipe, n) != getattr(recipe, n)]:
        files = changed_inputs(record)
        raise UsageError(
            f"the run {record.run_id} was made with other code or files ({few(map(str, files or changed))}); "
            "check out the commit of its record."
        )
    assert job.budget is not None  # a run without one has no updates
    environment.set_precision(job.settings.precision)
    environment.choose_threads(job.teacher.denoiser)
    environment.set_deterministic(bool(record.environment.deterministic), job.device)
    job.teacher.to(job.device)
    with stop_requests("stopping") as stop:
        torch.manual_seed(job.recipe.seed)  # from which a method's heads are made
        method = prepare_method(job, job.budget)
        trainer = prepare_trainer(job, job.budget, method, observe, stop)
        while trainer.ledger.updates < beginning.updates:
            if stop.requested:
                raise Interrupted("stopped; nothing was written.")
            trainer.iteration()
            observe(Working("repeating", trainer.ledger.updates, beginning.updates))
    now = environment.describe(job.device, job.settings.precision)
    then = record.environment.model_dump()
    facts = ("device", "torch", "precision", "world_size", "threads")
    return Repetition(
        record=record,
        updates=trainer.ledger.updates,
        equal=beginning_of(trainer) == beginning,
        elsewhere=[
            f"{fact} {then[fact]}, here {now[fact]}" for fact in facts if then[fact] != now[fact]
        ],
        changed_files=folder.changed_files(),
    )
