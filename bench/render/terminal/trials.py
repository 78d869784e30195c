"""The trials of a sweep or a halving, best first, and what more of them would bring."""

from rich.table import Table
from rich.text import Text

from bench.errors import one_line
from bench.ranking.halving import Halving, Standing
from bench.ranking.trials import Sweep
from bench.render.terminal.text import uncut
from bench.units import ARROWS, duration, plus_minus, short_budget


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
    return "\n".join(
        [uncut(table), "", f"{sweep.effort}.", _expected(sweep.metric, sweep.expected_best())]
    )


def halving_table(halving: Halving) -> str:
    """Return a line for each choice of settings with its number in every rung, those that went furthest
    first, and the winner.
    """
    names = list(dict.fromkeys(n for s in halving.rounds[0].standings for n in s.settings))
    columns = [{standing.number: standing for standing in halving.ranked(one)} for one in halving.rounds]
    order = list(dict.fromkeys(number for column in reversed(columns) for number in column))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial", justify="right")
    for title in names:
        table.add_column(Text(title), justify="right", no_wrap=True)
    arrow = f"{halving.metric.upper()} {ARROWS[halving.direction]}"
    for one in halving.rounds:
        title = f"{arrow} {short_budget(str(one.rung.budget))}"
        table.add_column(Text(title), justify="right", no_wrap=True)
    for number in order:
        settings = columns[0][number].settings
        cells = [_result(column.get(number)) for column in columns]
        table.add_row(*map(Text, [str(number), *(_plain(settings.get(n, "-")) for n in names), *cells]))
    first = short_budget(str(halving.rounds[0].rung.budget))
    failures = [
        f"Trial {standing.number} failed at {short_budget(str(one.rung.budget))}: {one_line(trial.error)}"
        for one in halving.rounds
        for standing in one.standings
        for trial in standing.trials
        if trial.error
    ]
    return "\n".join(
        [
            f"{halving.method} on {halving.teacher}",
            uncut(table),
            "",
            "Trial 0 is the present recipe; 1, where it is another, has the authors' values as far as they "
            "lie in the space.",
            *failures,
            f"{halving.summary[0].upper()}{halving.summary[1:]}.",
            f"At {first}: {_expected(halving.metric, halving.expected_best())}",
            halving.last_line,
        ]
    )


def _result(standing: Standing | None) -> str:
    """Write a number, of several seeds their mean and each of them; nothing for what went out before."""
    if standing is None:
        return ""
    mean = "failed" if standing.value is None else plus_minus(standing.value, None)
    each = ["failed" if value is None else plus_minus(value, None) for value in standing.values]
    return f"{mean} ({', '.join(each)})" if len(each) > 1 else mean


def _expected(metric: str, best: list[float]) -> str:
    """Write the expected best of some numbers of trials."""
    some = sorted({1, 2, 4, 8, 16, 32, 64, 128, len(best)} & {*range(1, len(best) + 1)})
    expected = ", ".join(f"{plus_minus(best[k - 1], None)} of {k}" for k in some)
    return f"Expected best {metric.upper()}: {expected}."


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
