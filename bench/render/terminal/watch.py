"""Follows the events of runs and opens a display for each that does any work: the teacher's, then the one asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from bench.runs.events import Event
    from bench.runs.record import Record
    from bench.training.job import Job


class Watch:
    """What ``bench.api.carry_out`` calls with each event; as a context it takes the display down at the end.

    Nothing is imported before there is something to show, so that a finished run is answered at once.
    """

    def __init__(self) -> None:
        self.display: Any = None
        self.run_id = ""
        self.worked = False
        """Whether any run did more than answer from its record."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.display is not None:
            self.display.__exit__()
            self.display = None

    def __call__(self, job: Job, event: Event, teacher: Record | None) -> None:
        """Show one event of a job; ``teacher`` is the line to reach."""
        from bench.render.terminal.live import Display
        from bench.runs.events import Finished

        if isinstance(event, Finished):
            self.worked = self.worked or not event.reused
            self.__exit__()
            return
        if self.run_id != job.recipe.run_id:
            self.__exit__()
            self.run_id = job.recipe.run_id
            final = teacher.final if teacher else None
            self.display = Display(job.recipe.method, trains=job.method_class.trains, teacher=final)
            self.display.__enter__()
        self.display.show(event)
