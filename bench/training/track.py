"""Showing a run to a tracker of experiments as it goes: TensorBoard, or Weights & Biases.

A tracker is an observer that the run's own observer is wrapped in. It never stops a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from bench import distributed
from bench.errors import UsageError, one_line
from bench.files.documents import dump_yaml
from bench.runs.events import Evaluated, Event, Logged, Note, Observer, Started
from bench.runs.record import Record


class Tracker(Protocol):
    """A run as a tracker knows it. Points lie on the axis of the generator's updates."""

    def values(self, values: Mapping[str, float], updates: int) -> None:
        """Add one point to each of these curves."""

    def picture(self, file: Path, updates: int) -> None:
        """Add a sample grid."""

    def close(self) -> None:
        """Write what is not written yet."""


class TensorBoard:
    """Writes ``tensorboard/RUN`` in the results folder, where ``tensorboard --logdir`` finds it."""

    def __init__(self, record: Record, results: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # an extra

        # What lies beyond the checkpoint that the run goes on from happens again.
        self.writer: Any = SummaryWriter(
            str(results / "tensorboard" / record.run_id), purge_step=record.cost.updates + 1
        )
        recipe = dump_yaml(record.recipe.as_given())
        self.writer.add_text("recipe", "".join(f"    {line}\n" for line in recipe.splitlines()))

    def values(self, values: Mapping[str, float], updates: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, updates)
        self.writer.flush()

    def picture(self, file: Path, updates: int) -> None:
        import numpy as np  # with the rest
        from PIL import Image  # with the rest

        with Image.open(file) as image:
            self.writer.add_image(
                "samples", np.asarray(image.convert("RGB")), updates, dataformats="HWC"
            )

    def close(self) -> None:
        self.writer.close()


class WandB:
    """Logs to Weights & Biases under the run's id, to which a continued run adds; ``WANDB_PROJECT``,
    ``WANDB_MODE`` and the like say where and how.
    """

    def __init__(self, record: Record, results: Path) -> None:
        import wandb  # an extra

        self.wandb: Any = wandb
        folder = results.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self.run = self.wandb.init(
            dir=str(folder),
            id=record.run_id[-100:],
            name=record.run_id,
            group=f"{record.method} on {record.teacher}",
            config=record.recipe.as_given(),
            resume="allow",
            settings=self.wandb.Settings(console="off"),  # what a terminal shows is for people
        )
        self.run.define_metric("*", step_metric="updates")

    def values(self, values: Mapping[str, float], updates: int) -> None:
        self.run.log({**values, "updates": updates})

    def picture(self, file: Path, updates: int) -> None:
        self.run.log({"samples": self.wandb.Image(str(file)), "updates": updates})

    def close(self) -> None:
        self.run.finish()


TRACKERS: dict[str, tuple[Callable[[Record, Path], Tracker], str]] = {
    "tensorboard": (TensorBoard, "torch.utils.tensorboard"),
    "wandb": (WandB, "wandb"),
}
"""How each tracker is opened, and the module that it needs."""


class TrackedObserver:
    """Passes every event on, and shows a tracker what belongs to it. A tracker that fails is left alone for
    the rest of the run, after one note.
    """

    def __init__(self, name: str, results: Path, observe: Observer) -> None:
        self.name, self.results, self.observe = name, results, observe
        self.tracker: Tracker | None = None
        self.failed = False

    def __call__(self, event: Event) -> None:
        """Pass the event on and track it."""
        self.observe(event)
        if not self.failed:
            self._try(lambda: self._track(event))

    def close(self) -> None:
        """End the tracker's run, if one has begun."""
        if self.tracker is not None:
            self._try(self.tracker.close)

    def _track(self, event: Event) -> None:
        match event:
            case Started():
                self.tracker = TRACKERS[self.name][0](event.record, self.results)
            case Logged() if self.tracker:
                self.tracker.values(event.values, event.updates)
            case Evaluated() if self.tracker:
                measured = {name: metric.value for name, metric in event.evaluation.metrics.items()}
                self.tracker.values(measured, event.evaluation.updates)
                self.tracker.picture(event.samples, event.evaluation.updates)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # of a library, a network or a disk that the run does not need
            self.failed = True
            reason = one_line(error) or type(error).__name__
            self.observe(Note(f"{self.name} tracks no more ({reason}); the run goes on."))


@contextmanager
def tracked(name: str | None, results: Path, observe: Observer) -> Iterator[Observer]:
    """Yield an observer that also shows the run to the tracker of this name, of one process alone.

    Raises UsageError where the tracker is not installed.
    """
    if name is None or not distributed.is_main():
        yield observe
        return
    module = TRACKERS[name][1]
    try:
        import_module(module)
    except ImportError:
        raise UsageError(
            f"--track {name} needs a package; pip install 'distill-bench[{name}]', or leave it out."
        ) from None
    observer = TrackedObserver(name, results, observe)
    try:
        yield observer
    finally:
        observer.close()
