"""The result of a run: a small table with the teacher's row, and the places of its files."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.runs.record import Record
from bench.units import ARROWS, duration, plus_minus, quantity


def print_result(record: Record, results: Path, teacher: Record | None) -> None:
    """Print the final numbers of a run, with the teacher's if known, on stdout."""
    console = Console(highlight=False)
    rows = [r for r in (teacher, record) if r is not None]
    if record.final:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("", no_wrap=True)
        last = record.evaluations[-1]
        for name, measurement in last.metrics.items():
            arrow = ARROWS[record.direction(name)]
            table.add_column(
                f"{name.upper()} {arrow}\n{measurement.protocol}", justify="right", no_wrap=True
            )
        for header in ("NFE", "images", "FLOPs", "time"):
            table.add_column(header, justify="right")
        for row in rows:
            numbers = row.evaluations[-1].metrics if row.evaluations else {}
            cells = [
                plus_minus(numbers[n].value, numbers[n].std) if n in numbers else ""
                for n in last.metrics
            ]
            cost = [quantity(row.cost.images), quantity(row.cost.flops), duration(row.cost.seconds)]
            trained = cost if row.cost.updates else ["-", "-", "-"]
            table.add_row(
                row.method if row is record else f"teacher ({row.teacher})",
                *cells,
                str(row.nfe),
                *trained,
            )
        console.print(table)
        first, best = next(iter(last.metrics)), record.best
        if best.metrics and best.images != last.images:
            console.print(
                f"best {first.upper()} {best.metrics[first]:.2f} at {best.images:,} images: {best.selection}"
            )
    folder = results / record.run_id
    console.print(f"run      {folder}", soft_wrap=True)
    if record.checkpoint.path:
        console.print(f"weights  {folder / record.checkpoint.path}", soft_wrap=True)
    if record.evaluations:
        console.print(f"samples  {folder / 'samples'}", soft_wrap=True)
    if (folder / "curve.png").is_file():
        console.print(f"curve    {folder / 'curve.png'}", soft_wrap=True)
