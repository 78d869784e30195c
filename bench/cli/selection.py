"""The runs that a table, a plot, a report or a list is made of, and what to say where there are none.

A new flag by which runs are chosen is a field of ``SelectionFlags`` and one of ``Selection``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import registry
from bench.cli.options import names, one_of
from bench.errors import BenchError, UsageError, unknown
from bench.ranking.superseded import superseded
from bench.ranking.trials import is_trial
from bench.runs.record import Record

FIRST_RUN = "such as `bench run --method sid --teacher edm-digits`, or name its folder with --results."
"""How a person comes by a run where there is none."""


class SelectionFlags:
    """The flags that choose runs, by which ``Selection.of`` is made."""

    teacher: Annotated[str | None, typer.Option(metavar="A,B", help="Only of these teachers.")]
    method: Annotated[
        str | None, typer.Option("--method", "--methods", metavar="A,B", help="Only of these methods.")
    ]
    run: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these runs, by their ids or how they begin.")
    ]
    seed: Annotated[str | None, typer.Option(metavar="N,M", help="Only of these training seeds.")]
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only begun on this day or time (UTC), or later.")
    ]
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only begun on this day or time (UTC), or before.")
    ]


IncludeSuperseded = Annotated[
    bool,
    typer.Option(
        "--include-superseded", help="Also runs whose code has changed and that newer runs replace."
    ),
]


@dataclass(frozen=True)
class Selection:
    """A choice of runs; None leaves all of them."""

    teachers: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    runs: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    """The first moment that is too late."""

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> "Selection":
        """Read the flags of ``SelectionFlags``. Raises UsageError for an empty list, and for what is no
        seed or date.
        """
        return cls(
            names(flags.get("teacher"), "teachers", "edm-digits"),
            names(flags.get("method"), "methods", "sid,dmd"),
            names(flags.get("run"), "runs", "sid-edm-digits-s0"),
            _seeds(names(flags.get("seed"), "seeds", "0,1")),
            _moment("--since", flags.get("since")),
            _moment("--until", flags.get("until"), end=True),
        )

    def take(self, records: Sequence[Record]) -> list[Record]:
        """Return the runs that are chosen. Raises UsageError for a name that no run begins with."""
        for name in self.runs or ():
            if not any(record.run_id.startswith(name) for record in records):
                raise unknown("run", name, [record.run_id for record in records])
        return [record for record in records if self._takes(record)]

    def take_with_teachers(self, records: Sequence[Record]) -> list[Record]:
        """Return the runs that are chosen, and their teachers' own, which they are compared with."""
        chosen = self.take(records)
        ids, teachers = {r.run_id for r in chosen}, {r.teacher for r in chosen}
        return [
            r for r in records if r.run_id in ids or (r.method == "teacher" and r.teacher in teachers)
        ]

    def _takes(self, record: Record) -> bool:
        return (
            (self.teachers is None or record.teacher in self.teachers)
            and (self.methods is None or record.method in self.methods)
            and (self.runs is None or record.run_id.startswith(tuple(self.runs)))
            and (self.seeds is None or record.seed in self.seeds)
            and (self.since is None or _begun(record) >= self.since)
            and (self.until is None or _begun(record) < self.until)
        )


def comparable(
    records: Sequence[Record], selection: Selection, *, include_superseded: bool
) -> tuple[list[Record], list[str]]:
    """Return the runs that are shown beside each other, and a sentence about those that are left out.

    They are the chosen ones with their teachers' own, without those that others among them supersede, and
    without a sweep's trials, which were chosen among, unless they are named by id or seed.
    """
    chosen = selection.take_with_teachers(records)
    if selection.runs is None and selection.seeds is None:
        chosen = [record for record in chosen if not is_trial(record)]
    left_out = {} if include_superseded else superseded(chosen)
    shown = [record for record in chosen if record.run_id not in left_out]
    return shown, said_superseded(len(left_out), "--include-superseded shows them")


def trials(
    records: Sequence[Record], selection: Selection, *, include_superseded: bool
) -> tuple[list[Record], list[str]]:
    """Return the chosen trials of sweeps alone, as ``comparable`` returns the runs of tables."""
    chosen = [record for record in selection.take(records) if is_trial(record)]
    left_out = {} if include_superseded else superseded(chosen)
    shown = [record for record in chosen if record.run_id not in left_out]
    return shown, said_superseded(len(left_out), "--include-superseded shows them")


def said_superseded(count: int, how: str) -> list[str]:
    """Write how many runs are left out as superseded, and ``how`` they are seen: a sentence, or none."""
    runs = f"{count} superseded {'run' if count == 1 else 'runs'}"
    why = "the code has changed, and newer runs stand for them"
    return [f"left out: {runs} ({why}); {how}."] if count else []


def _seeds(texts: Sequence[str] | None) -> list[int] | None:
    for text in texts or ():
        if not (text.isascii() and text.isdecimal()):
            raise UsageError(f"--seed {text[:60]!r} is not a number; give some, such as --seed 0,1.")
    return None if texts is None else [int(text) for text in texts]


def _moment(flag: str, text: str | None, *, end: bool = False) -> datetime | None:
    """Read a day or a time by ISO 8601, in UTC unless it says otherwise; with ``end`` its end."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{flag} {text[:60]!r} is no date; give one such as 2026-11-20 or 2026-11-20T14:30 (UTC)."
        ) from None
    length = timedelta(days=1) if len(text) <= len("2026-11-20") else timedelta(seconds=1)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return moment + length if end else moment
    except OverflowError:  # the last day of the calendar, which nothing is later than
        return None


def _begun(record: Record) -> datetime:
    """Return when a run began; long ago where its record does not say."""
    try:
        moment = datetime.fromisoformat(record.started)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def known_names(records: Sequence[Record]) -> dict[str, set[str]]:
    """Collect the teachers, methods and metrics that are registered or that records are of."""
    return {
        "teacher": {*registry.teachers.entries(), *(record.teacher for record in records)},
        "metric": {*registry.metrics.entries(), *(name for record in records for name in record.final)},
        "method": {*registry.methods.entries(), *(record.method for record in records)},
    }


def require_known(known: Mapping[str, set[str]], choice: Mapping[str, Iterable[str] | None]) -> None:
    """Raise UsageError for a teacher, metric or method that is not known."""
    for what, wanted in choice.items():
        for name in wanted or ():
            one_of(what, name, known[what])


def nothing_to_show(flags: Mapping[str, Any], results: Path, records: Iterable[Record]) -> BenchError:
    """Make the error of a table or a report without rows: say what the runs lack, and what to do.

    ``flags`` are those that chose among the runs.
    """
    finished = [record for record in records if record.status == "done"]
    if finished and not any(record.final for record in finished):
        return BenchError(
            f"the finished runs in {str(results)!r} measured nothing (--eval none); `bench eval RUN` "
            "measures one, and the same run with --eval fid is in the table."
        )
    given = [
        f"--{name}" if value is True else f"--{name} {value}" for name, value in flags.items() if value
    ]
    chosen = f" with {' '.join(given)}" if given else ""
    return BenchError(f"no finished run in {str(results)!r}{chosen}; make one, {FIRST_RUN}")


def unfinished(records: Sequence[Record]) -> list[str]:
    """Write which of these runs are not finished: one sentence, or none."""
    ids = [record.run_id for record in records if record.status != "done"]
    return [f"not finished: {', '.join(ids)}."] if ids else []
