"""What came out, on stdout: of a run beside its teacher, or of an evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.render.terminal.text import terminal
from bench.runs.record import Record
from bench.units import ARROWS, duration, plus_minus, quantity


def print_result(record: Record, results: Path, teacher: Record | None) -> None:
    """Print the final numbers of a run as a table, with the teacher's if known, and where its files are."""
    console = terminal()
    if record.final:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("", no_wrap=True)
        last = record.evaluations[-1]
        for name, measurement in last.metrics.items():
            title = f"{name.upper()} {ARROWS[record.direction(name)]}\n{measurement.protocol}"
            table.add_column(title, justify="right", no_wrap=True)
        for header in ("NFE", "images", "FLOPs", "time"):
            table.add_column(header, justify="right")
        for row in filter(None, (teacher, record)):
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


def print_milestones(images: Sequence[int], contents: Sequence[dict[str, Any]]) -> None:
    """Print a line for each point along a run, by the images seen, and a column for each metric."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("\nimages", justify="right", no_wrap=True)
    for name, number in contents[0]["metrics"].items():
        title = (
            f"{name.upper()} {ARROWS[contents[0]['protocol']['directions'][name]]}\n{number['protocol']}"
        )
        table.add_column(title, justify="right", no_wrap=True)
    for seen, content in zip(images, contents, strict=True):
        numbers = (plus_minus(n["value"], n.get("std")) for n in content["metrics"].values())
        table.add_row(quantity(seen), *numbers)
    terminal().print(table)


def print_repetition(found: Any) -> None:
    """Print what came of repeating a run's first updates, a ``Repetition``."""
    console, run = terminal(), found.record.run_id
    if found.changed_files is None:
        lost = "is lost" if found.record.status == "done" else "comes when a run is finished"
        console.print(f"{run} has no SHA256SUMS, which {lost}.", soft_wrap=True)
    elif found.changed_files:
        names = ", ".join(found.changed_files)
        console.print(f"{run}: other content than the run left: {names}.", soft_wrap=True)
    else:
        console.print(f"{run}: every file is as the run left it.", soft_wrap=True)
    weights = f"its first {found.updates} updates give"
    if found.equal is None:
        console.print("its record knows no weights of a beginning to repeat.", soft_wrap=True)
    elif found.equal:
        console.print(f"{weights} the same weights here, to the bit.", soft_wrap=True)
    else:
        reasons = "; ".join(found.elsewhere) or "the same device, torch and precision"
        console.print(f"{weights} other weights here ({reasons}).", soft_wrap=True)


def print_evaluation(content: dict[str, Any]) -> None:
    """Print the numbers of an evaluation with their protocols, references and generator."""
    protocol = content["protocol"]
    for name, m in content["metrics"].items():
        arrow = ARROWS[protocol["directions"][name]]
        smallest = (
            f"  smallest of {len(m['values'])}: {plus_minus(m['smallest'], None)}"
            if "smallest" in m
            else ""
        )
        print(
            f"{name + ' ' + arrow:<15} {plus_minus(m['value'], m.get('std')):<16} {m['protocol']}{smallest}"
        )
    for facts in protocol["references"]:
        count = f"{facts['images']:,} images" if facts.get("images") else None
        known = filter(None, (facts.get("dataset"), facts.get("split"), count, f"by {facts['builder']}"))
        print(f"{'compared with':<15} {', '.join(known)}")
    if content["nfe"] is not None:
        print(f"{'generator':<15} NFE {content['nfe']}, {quantity(content['parameters'])} parameters")
    rows = content.get("cross_check", [])
    if rows:
        print(f"\n{'cross-check':<15} {'value':<20} {'by':<53} difference")
    for row in rows:
        by = f"{row['formula']}, features by {row['features']}"
        print(f"{row['metric']:<15} {row['value']:<20.8g} {by:<52} {row['difference']:+.2e}")
