"""The display of a run: a progress bar with the latest and best FID in a terminal, a plain line per evaluation and
a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
from bench.runs.events import Evaluated, Event, Note, Preparing
from bench.runs.events import Progress as ProgressEvent
from bench.runs.record import Evaluation
from bench.units import clock, duration, plus_minus, quantity

_REFRESH = 2
_LINE_SECONDS = 60.0
"""Between two lines about a run where there is no terminal."""


class Display:
    """Shows the events of one run on stderr. Use as a context; ``show`` each event."""

    def __init__(self, method: str, *, trains: bool, teacher: dict[str, float] | None = None) -> None:
        self.console, self.method, self.trains, self.teacher = Console(stderr=True), method, trains, teacher or {}
        self.told = time.monotonic()
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[images]} images"),
            TextColumn("{task.fields[rate]}/s"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[quality]}"),
            console=self.console,
            refresh_per_second=_REFRESH,
            expand=True,  # the bar takes the room that the words leave
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(method, total=1.0, images="0", rate="-", left="", quality="")

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, event: Event) -> None:
        """Bring one event before the eye."""
        if isinstance(event, Note):
            self.console.print(event.text, style="dim", highlight=False)
        elif isinstance(event, Preparing):
            self.progress.update(self.task, completed=event.done / event.total, quality=event.what, images=quantity(event.done))
        elif isinstance(event, ProgressEvent):
            if not self.console.is_terminal and time.monotonic() - self.told > _LINE_SECONDS:
                self.told = time.monotonic()
                words = (
                    f"{event.ledger.images:>12,} images  {quantity(event.images_per_second)}/s  {clock(event.seconds_left)} left"
                )
                self.console.print(words, highlight=False)
            self.progress.update(
                self.task,
                completed=event.fraction,
                images=quantity(event.ledger.images),
                rate=quantity(event.images_per_second),
                left=f"{clock(event.seconds_left)} left",
            )
        elif isinstance(event, Evaluated):
            self.console.print(self.line(event.evaluation), highlight=False)
            self.progress.update(self.task, quality=self.quality(event))

    def line(self, evaluation: Evaluation) -> str:
        """One evaluation in words: where, what it cost, and what came out."""
        numbers = "  ".join(f"{name.upper()} {plus_minus(m.value, m.std)}" for name, m in evaluation.metrics.items())
        protocol = next(iter(evaluation.metrics.values())).protocol
        where = f"{evaluation.images:>12,} images {evaluation.seconds:>7.1f} s"
        if not self.trains:
            where = f"{self.method}, NFE {evaluation.nfe}".rjust(len(where))
        return f"{where}  {numbers}  ({protocol})"

    def quality(self, event: Evaluated) -> str:
        """Latest and best value of the first metric, and the teacher's, the line to reach."""
        name = next(iter(event.evaluation.metrics))
        text = f"{name.upper()} {event.evaluation.metrics[name].value:.2f}  best {event.best.metrics[name].value:.2f}"
        return text + (f"  teacher {self.teacher[name]:.2f}" if name in self.teacher else "")


@contextmanager
def training_bar(name: str) -> Iterator[Callable[[float, float], None]]:
    """A bar for ``bench train``: yields ``report(fraction, loss)``."""
    console = Console(stderr=True)
    columns = (
        TextColumn("training {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}"), console=console, transient=True) as progress:
        task = progress.add_task(name, total=1.0, loss=float("nan"))
        yield lambda fraction, loss: progress.update(task, completed=fraction, loss=loss)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A bar for work that has nothing to show but how far it is, a line a minute elsewhere: yields ``report(fraction)``."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    begun = told = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal told
        progress.update(task, completed=fraction)
        if not console.is_terminal and distributed.is_main() and time.monotonic() - told > _LINE_SECONDS:
            told = time.monotonic()
            left = f", {duration((told - begun) * (1 - fraction) / fraction)} left" if fraction > 0 else ""
            console.print(f"{what}: {fraction:.0%}{left}", markup=False, highlight=False, soft_wrap=True)

    shown = console.is_terminal and distributed.is_main()
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(what, total=1.0)
        yield report
