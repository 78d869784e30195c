"""Progress of work: bars in a terminal, with the latest and best FID of a run; plain lines elsewhere.

Both are shown on stderr, and both observe the events of the work.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench import distributed
from bench.render.terminal.notes import observe_notes
from bench.render.terminal.text import terminal
from bench.runs.events import Evaluated, Event, Finished, Note, Observer, Started, Training, Working
from bench.runs.record import Evaluation
from bench.units import clock, duration, plus_minus, quantity

_LINE_SECONDS = 60.0
"""Between two lines about work where there is no terminal."""


class RunObserver(AbstractContextManager["RunObserver"]):
    """Observes runs for a person at a terminal. As a context it takes the display down at the end."""

    def __init__(self) -> None:
        self.console = terminal(stderr=True, quiet=not distributed.is_main())
        self.display: Display | None = None
        self.worked = False
        """Whether any run did more than answer from its record."""

    def __exit__(self, *_: object) -> None:
        """Take the progress bar down; the lines stay."""
        if self.display is not None:
            self.display.progress.stop()
            self.display = None

    def __call__(self, event: Event) -> None:
        """Show notes as lines that matter less than a run's numbers, and a run from its start to its end
        in a display.
        """
        match event:
            case Note():
                self.console.print(event.text, style="dim")
            case Started():
                self.worked = True
                self.__exit__()
                self.display = Display(event, self.console)
            case Finished():
                self.__exit__()
            case _ if self.display is not None:
                self.display(event)


class Display:
    """Shows one run, from its start until its progress is stopped."""

    def __init__(self, run: Started, console: Console) -> None:
        self.method, self.trains = run.record.method, run.trains
        self.teacher = run.teacher.final if run.teacher else {}
        self.last_line = time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[images]} images"),
            TextColumn("{task.fields[rate]}/s"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[quality]}", markup=False),
            console=console,
            refresh_per_second=2,
            expand=True,  # the bar takes the room that the words leave
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task(
            self.method, total=1.0, images="0", rate="-", left="", quality=""
        )
        self.progress.start()

    def __call__(self, event: Event) -> None:
        """Show an evaluation as a line, and anything that moves in the progress bar."""
        match event:
            case Working():
                images = quantity(event.done)
                self.progress.update(
                    self.task, completed=event.fraction, quality=event.what, images=images
                )
            case Training():
                self._show_training(event)
            case Evaluated():
                self.progress.console.print(self._line(event.evaluation))
                self.progress.update(self.task, quality=self._quality(event))

    def _show_training(self, event: Training) -> None:
        images, rate, left = (
            event.ledger.images,
            quantity(event.images_per_second),
            f"{clock(event.seconds_left)} left",
        )
        if not self.progress.console.is_terminal and time.monotonic() - self.last_line > _LINE_SECONDS:
            self.last_line = time.monotonic()
            self.progress.console.print(f"{images:>12,} images  {rate}/s  {left}")
        self.progress.update(
            self.task, completed=event.fraction, images=quantity(images), rate=rate, left=left
        )

    def _line(self, evaluation: Evaluation) -> str:
        """Write one evaluation in words: its place in the run, and its numbers."""
        numbers = "  ".join(
            f"{name.upper()} {plus_minus(m.value, m.std)}" for name, m in evaluation.metrics.items()
        )
        protocol = next(iter(evaluation.metrics.values())).protocol
        where = f"{evaluation.images:>12,} images {evaluation.seconds:>7.1f} s"
        if not self.trains:
            where = f"{self.method}, NFE {evaluation.nfe}".rjust(len(where))
        return f"{where}  {numbers}  ({protocol})"

    def _quality(self, event: Evaluated) -> str:
        """Write the latest, the best and the teacher's value of the first metric."""
        name = next(iter(event.evaluation.metrics))
        latest, best = (e.metrics[name].value for e in (event.evaluation, event.best))
        text = f"{name.upper()} {latest:.2f}  best {best:.2f}"
        return text + (f"  teacher {self.teacher[name]:.2f}" if name in self.teacher else "")


@contextmanager
def progress_bar(what: str) -> Iterator[Observer]:
    """Open a bar for work that shows only how far it is; without a terminal, write a line a minute.

    Yields the observer of the work, which writes its notes too.
    """
    console = terminal(stderr=True)
    started = last_line = time.monotonic()

    def observe(event: Event) -> None:
        nonlocal last_line
        observe_notes(event)
        if not isinstance(event, Working):
            return
        fraction = event.fraction
        progress.update(task, completed=fraction, detail=event.detail)
        if (
            not console.is_terminal
            and distributed.is_main()
            and time.monotonic() - last_line > _LINE_SECONDS
        ):
            last_line = time.monotonic()
            left = (
                f", {duration((last_line - started) * (1 - fraction) / fraction)} left"
                if fraction > 0
                else ""
            )
            console.print(f"{what}: {fraction:.0%}{left}", soft_wrap=True)

    visible = console.is_terminal and distributed.is_main()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
        transient=True,
        disable=not visible,
    ) as progress:
        task = progress.add_task(what, total=1.0, detail="")
        yield observe
