"""The overview of a grid of runs: a live table in a terminal, a line for each run that begins or ends elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.runs.grid import GridRun
from bench.units import clock

_MARKS = {"waiting": ("·", "dim"), "running": ("▶", "cyan"), "done": ("✓", "green"), "failed": ("✗", "bold red")}


class Overview:
    """Shows how the cells stand, on stderr. Use as a context; call it with the cells now and then."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=2, transient=True) if self.console.is_terminal else None
        self.told: dict[int, str] = {}

    def __enter__(self) -> Overview:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, cells: Sequence[GridRun]) -> None:
        """Bring the cells' present state before the eye."""
        if self.live is not None:
            self.live.update(overview(cells))
            return
        for i, (cell, label) in enumerate(zip(cells, labels(cells), strict=True)):
            if cell.state != self.told.get(i, "waiting"):
                self.console.print(Text(f"{label} seed {cell.request.seed}: {_words(cell)}; {standing(cells)}"))
            self.told[i] = cell.state


def overview(cells: Sequence[GridRun]) -> Table:
    """A row for each method, teacher and settings, a column for each seed, and where the whole stands."""
    seeds = sorted({cell.request.seed for cell in cells})
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=standing(cells), title_justify="left")
    table.add_column("run")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right", no_wrap=True)
    rows: dict[str, dict[int, GridRun]] = {}
    for cell, label in zip(cells, labels(cells), strict=True):
        rows.setdefault(label, {})[cell.request.seed] = cell
    for name, row in rows.items():
        marks = [Text(f"{_MARKS[c.state][0]} {_words(c)}", _MARKS[c.state][1]) if (c := row.get(s)) else Text("") for s in seeds]
        table.add_row(Text(name), *marks)
    return table


def labels(cells: Sequence[GridRun]) -> list[str]:
    """For each cell the method, what was set by hand, the budget where not all have the same, and the teacher."""
    budgets = {cell.request.budget for cell in cells if cell.request.method != "teacher"}
    found = []
    for request in (cell.request for cell in cells):
        given = [f"{name}={value}" for name, value in request.settings.items()]
        given += [request.budget] if request.budget and len(budgets) > 1 else []
        settings = f" ({', '.join(given)})" if given else ""
        found.append(f"{request.method}{settings} on {request.teacher}")
    return found


def standing(cells: Sequence[GridRun]) -> str:
    """How many runs are done, and how long the others may take, by those that have been carried out so far."""
    done, failed = (sum(cell.state == state for cell in cells) for state in ("done", "failed"))
    text = f"{done} of {len(cells)} done" + (f", {failed} failed" if failed else "")
    timed = [c.seconds for c in cells if c.state == "done" and not c.reused and c.record is not None and c.record.recipe.budget]
    ahead = [c for c in cells if c.state in ("waiting", "running")]
    if timed and ahead:
        usual = sum(timed) / len(timed)
        left = sum(max(usual - c.seconds if c.state == "running" else usual, 0.0) for c in ahead)
        left /= max(1, sum(cell.state == "running" for cell in cells))
        text += f", about {clock(left)} left"
    return text


def _words(cell: GridRun) -> str:
    """The latest value of its first metric, how far it is, or why it failed."""
    latest = cell.record.evaluations[-1] if cell.record and cell.record.evaluations else None
    value = ""
    if latest is not None:
        name = next(iter(latest.metrics))
        value = f"{name.upper()} {latest.metrics[name].value:.2f}"
    if cell.state == "failed":
        return f"failed: {cell.error}"
    if cell.state == "running":
        return f"{cell.fraction:.0%} {value}".strip()
    return f"{value}{' (reused)' if cell.reused else ''}" if cell.state == "done" else "waiting"
