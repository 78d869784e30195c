"""Estimates of a run and of a grid, as text."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.files.assets import Asset
from bench.files.documents import dump_yaml
from bench.render.terminal.text import uncut
from bench.runs.grid import GridEstimate, RunEstimate
from bench.units import duration, quantity, short_budget


def run_estimate(estimate: RunEstimate) -> str:
    """Write a run's recipe, evaluation points and estimated cost."""
    recipe, budget, cost = estimate.recipe, estimate.budget, estimate.cost
    text = dump_yaml(recipe.model_dump(mode="json")).rstrip()
    lines = [text, "", f"run id             {estimate.run_id}"]
    if budget is None or cost is None:
        return "\n".join(
            [*lines, "training           none: this method only samples", *_to_fetch(estimate.missing)]
        )
    if recipe.evaluation:
        points = ", ".join(quantity(point) for point in budget.points(recipe.evaluation.points))
        lines.append(f"evaluated at       {points} {budget.axis}")
    if estimate.initial_generator_flops is not None:
        lines.append(
            f"starting generator {quantity(estimate.initial_generator_flops)} FLOPs, as far as that is known"
        )
    if estimate.pairs is not None:
        count, steps = estimate.pairs
        before = cost.before_training
        price = f"{quantity(before['flops'])} FLOPs, {duration(before['seconds'])}"
        lines.append(f"teacher's pairs    {count:,} of {steps} Heun steps, {price}")
    for axis, amount in cost.totals.items():
        lines.append(f"{axis:<18} {duration(amount) if axis == 'seconds' else quantity(amount)}")
    lines.append(f"peak memory        {quantity(cost.memory)}B")
    lines.append("estimated from a few iterations; evaluation and start-up come on top.")
    return "\n".join([*lines, *_to_fetch(estimate.missing)])


def _to_fetch(missing: Sequence[Asset]) -> list[str]:
    """Write which files a run will fetch, with their sizes where they are known: a sentence, or nothing."""
    files = ", ".join(f"{asset.file} ({asset.note or 'size not known'})" for asset in missing)
    return [f"nothing was downloaded for this estimate; the run will fetch {files}."] if missing else []


def grid_estimate(estimates: Sequence[GridEstimate], at_once: int) -> str:
    """Write a table of the runs of a grid, how they stand and what each would cost, and how long
    all may take.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("run", "done", "budget", "FLOPs", "time", "memory"):
        table.add_column(title, justify="left" if title == "run" else "right", no_wrap=title != "run")
    seconds = 0.0
    for estimate in estimates:
        cost = ["-"] * 3
        if estimate.cost is not None:
            totals = estimate.cost.totals
            cost = [
                quantity(totals["flops"]),
                duration(totals["seconds"]),
                f"{quantity(estimate.cost.memory)}B",
            ]
            seconds += totals["seconds"] * (estimate.runs - estimate.done)
        budget = short_budget(str(estimate.budget)) if estimate.budget else "-"
        row = [estimate.label, f"{estimate.done} of {estimate.runs}", budget, *cost]
        table.add_row(*map(Text, row))
    left = f"about {duration(seconds / at_once)} of training left, {at_once} at a time"
    missing = dict.fromkeys(asset for estimate in estimates for asset in estimate.missing)
    return "\n".join(
        [uncut(table), f"{left}; evaluation and start-up come on top.", *_to_fetch(list(missing))]
    )
