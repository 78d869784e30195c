"""The overview of a grid: a live table in a terminal, elsewhere a line for each change of a run."""

from collections.abc import Sequence
from typing import Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.render.terminal.text import terminal
from bench.runs.events import Event, GridProgress, Note
from bench.runs.grid import GridRun, labels
from bench.units import clock

_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}


class Overview:
    """Shows how the runs of a grid stand, on stderr. Use as a context; it observes the grid."""

    def __init__(self) -> None:
        self.console = terminal(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=2, transient=True)
        self.states: dict[int, str] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        """Show the runs as they stand: all in a terminal, elsewhere those that have begun or ended. A
        note is shown in both.
        """
        if isinstance(event, Note):
            self.console.print(Text(event.text))
        if not isinstance(event, GridProgress):
            return
        runs = event.runs
        if self.console.is_terminal:
            self.live.update(overview(runs))
            return
        for i, (run, label) in enumerate(zip(runs, labels(runs), strict=True)):
            if run.state != self.states.get(i, "waiting"):
                self.console.print(
                    Text(f"{label} seed {run.request.seed}: {_words(run)}; {standing(runs)}")
                )
            self.states[i] = run.state


def overview(runs: Sequence[GridRun]) -> Table:
    """Lay out a row for each method, teacher and settings, a column for each seed, and the total."""
    seeds = sorted({run.request.seed for run in runs})
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=standing(runs), title_justify="left"
    )
    table.add_column("run")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right", no_wrap=True)
    rows: dict[str, dict[int, GridRun]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        rows.setdefault(label, {})[run.request.seed] = run
    for label, row in rows.items():
        marks = [
            f"{_MARKS[row[seed].state][0]} {_words(row[seed])}" if seed in row else "" for seed in seeds
        ]
        styles = [_MARKS[row[seed].state][1] if seed in row else "" for seed in seeds]
        table.add_row(Text(label), *map(Text, marks, styles))
    return table


def standing(runs: Sequence[GridRun]) -> str:
    """Write how many runs are done, and by their times how long the others may take."""
    done, failed = (sum(run.state == state for run in runs) for state in ("done", "failed"))
    text = f"{done} of {len(runs)} done" + (f", {failed} failed" if failed else "")
    new = [run for run in runs if run.state == "done" and not run.reused]
    timed = [run.seconds for run in new if run.record is not None and run.record.recipe.budget]
    ahead = [run for run in runs if run.state in ("waiting", "running")]
    if timed and ahead:
        usual = sum(timed) / len(timed)
        left = sum(max(usual - run.seconds if run.state == "running" else usual, 0.0) for run in ahead)
        left /= max(1, sum(run.state == "running" for run in runs))
        text += f", about {clock(left)} left"
    return text


def _words(run: GridRun) -> str:
    """Write the latest value of a run's first metric, how far the run is, or why it failed."""
    latest = run.record.evaluations[-1] if run.record and run.record.evaluations else None
    value = ""
    if latest is not None:
        name = next(iter(latest.metrics))
        value = f"{name.upper()} {latest.metrics[name].value:.2f}"
    if run.state == "failed":
        return f"failed: {run.error}"
    if run.state == "running":
        return f"{run.fraction:.0%} {value}".strip()
    return f"{value}{' (reused)' if run.reused else ''}" if run.state == "done" else "waiting"
