"""The trials of a sweep, best first, and what more of them would bring."""

from rich.table import Table
from rich.text import Text

from bench.errors import one_line
from bench.ranking.trials import Sweep
from bench.render.terminal.text import uncut
from bench.units import ARROWS, duration, plus_minus


def trials_table(sweep: Sweep) -> str:
    """Return a line for each trial, from best to worst, and the expected best of fewer trials.

    The run's id is the last word of its line.
    """
    names = list(dict.fromkeys(name for trial in sweep.trials for name in trial.settings))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in (*names, f"{sweep.metric.upper()} {ARROWS[sweep.direction]}", "time"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    table.add_column("run")
    for trial in sweep.ranked:
        settings = [_plain(trial.settings.get(name, "-")) for name in names]
        value, record = sweep.value(trial), trial.record
        table.add_row(
            *map(Text, settings),
            Text("failed" if value is None else plus_minus(value, None)),
            Text(duration(record.cost.seconds) if record else "-"),
            Text(
                (record.run_id if record else "-")
                + (f": {one_line(trial.error)}" if trial.error else "")
            ),
        )
    best = sweep.expected_best()
    some = sorted({1, 2, 4, 8, 16, 32, 64, 128, len(best)} & {*range(1, len(best) + 1)})
    expected = ", ".join(f"{plus_minus(best[k - 1], None)} of {k}" for k in some)
    return "\n".join(
        [uncut(table), "", f"{sweep.effort}.", f"Expected best {sweep.metric.upper()}: {expected}."]
    )


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
