"""The training state on disk: written now and then, so that an interruption loses seconds, and each with a
digest, so that a damaged one is known and the one before takes its place.
"""

import os
import time

import torch

from bench import distributed
from bench.errors import BenchError, Diverged, UsageError
from bench.files.tensors import load_sealed, save_sealed
from bench.runs.events import Note
from bench.training.recorder import Recorder, note_peak_memory
from bench.training.trainer import Trainer

SECONDS = 15.0
"""Least seconds between two checkpoints."""
SHARE = 0.02
"""The part of the time that writing checkpoints may take, where a network is so large that writing
takes seconds.
"""


class Checkpoint:
    """The last ``keep`` training states of a run."""

    def __init__(self, trainer: Trainer, recorder: Recorder, keep: int) -> None:
        self.trainer, self.recorder, self.keep = trainer, recorder, keep
        self.folder = recorder.folder
        self.saved, self.writing = time.perf_counter(), 0.0

    def resume(self) -> None:
        """Continue from the newest state that is whole, if there is any.

        Raises BenchError if all that there are are damaged, or one may not be read.
        """
        states = self.folder.states()
        for file in states:
            if file.exists() and not os.access(file, os.R_OK):
                raise BenchError(
                    f"the checkpoint {str(file)!r} may not be read; see to its permissions, and give the "
                    "same command again."
                )
            try:
                tensors, meta = load_sealed(file)
            except UsageError as error:
                self.recorder.observe(Note(f"passed over a checkpoint: {error}"))
                continue
            if distributed.is_main():
                for damaged in states[: states.index(file)]:
                    damaged.rename(damaged.with_suffix(".damaged"))  # which is no state to keep
            self.trainer.restore(tensors, meta)
            self._draw_otherwise(meta["rollbacks"])
            self.recorder.observe(Note(f"continuing after {self.trainer.ledger.images:,} images"))
            return
        if states:
            raise BenchError(
                f"all checkpoints in {str(self.folder.checkpoints)!r} are damaged; --fresh starts over."
            )
        self._draw_otherwise(0)

    def _draw_otherwise(self, rollbacks: int) -> None:
        """Begin other random numbers if the run has come back to this state from where it diverged."""
        record = self.recorder.record
        if len(record.rollbacks) > rollbacks:
            torch.manual_seed(record.seed + len(record.rollbacks) * 2**33)

    @property
    def is_due(self) -> bool:
        """True if the last one is old enough, and writing one does not take too much of the time."""
        return time.perf_counter() - self.saved > max(SECONDS, self.writing / SHARE)

    def save(self) -> None:
        """Write the training state, then the record with what has been spent, and let go of older states.

        Raises BenchError, and leaves the last state, if the losses since then or the weights are not
        finite, or the disk is full.
        """
        started = time.perf_counter()
        self.trainer.synchronise()
        try:
            self.trainer.require_finite()
        except Diverged as error:
            raise Diverged(f"{error} ({self.last()}.)") from error
        if distributed.is_main():
            self._write()
        distributed.wait_for_all()  # here, where no clock of the training runs
        self.saved = time.perf_counter()
        self.writing = self.saved - started

    def _write(self) -> None:
        updates, record = self.trainer.ledger.updates, self.recorder.record
        if (skipped := self.trainer.skipped) > record.skipped:
            self.recorder.observe(
                Note(f"left out {skipped} updates so far, as their gradients were not finite")
            )
        record.skipped = skipped
        try:
            tensors, meta = self.trainer.state()
            meta["rollbacks"] = len(record.rollbacks)
            save_sealed(self.folder.state(updates), tensors, meta)
        except OSError as error:
            raise BenchError(
                f"the checkpoint after {updates:,} updates could not be written ({error.strerror}); "
                f"{self.last()}. Make room, or see to its permissions, and give the same command again."
            ) from error
        for file in self.folder.states()[self.keep :]:
            file.unlink(missing_ok=True)
        note_peak_memory(record, self.trainer.device)
        self.folder.write_record(record)

    def last(self) -> str:
        """Say which state a run would continue from, for the error that ends it."""
        states = self.folder.states()
        if not states:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is that after {int(states[0].stem.split('-')[1]):,} updates"
