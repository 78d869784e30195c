"""All claims on all teachers."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.ranking.claims.alpha import alpha
from bench.ranking.claims.axes import axes
from bench.ranking.claims.evidence import Evidence
from bench.ranking.claims.fall import exponential, falls, power_law
from bench.ranking.claims.finding import Finding
from bench.ranking.claims.quality import data_free, matched, teacher
from bench.runs.record import Record


@dataclass(frozen=True)
class Examination:
    """The claims on one teacher, and which runs they were put to the test on."""

    teacher: str
    column: str | None
    """The metric and its protocol; None where nothing was measured."""
    budget: str | None
    """That of the method's usual row, which the other methods share."""
    runs: int
    """Finished runs that the rows are made of."""
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    """Those that were trained."""
    commits: tuple[str, ...]
    """Of the suite, by the records."""
    findings: tuple[Finding, ...]


def examine(records: Sequence[Record], teachers: Sequence[str]) -> list[Examination]:
    """Put every claim to the test on each of the teachers; what the records lack leaves a claim open."""
    return [_examined(Evidence.of(records, name)) for name in teachers]


def _examined(evidence: Evidence) -> Examination:
    fallen = falls(evidence)
    runs = [run for entry in evidence.entries for run in entry.runs]
    trained = [entry for entry in evidence.entries if entry.row.updates]
    return Examination(
        evidence.teacher,
        evidence.column.title if evidence.column else None,
        None if evidence.subject is None else evidence.entries[evidence.subject].budget,
        len(runs),
        tuple(sorted({run.seed for entry in trained for run in entry.runs})),
        tuple(sorted({entry.row.method for entry in trained})),
        tuple(sorted({run.environment.commit for run in runs if run.environment.commit})),
        (
            power_law(evidence, fallen),
            exponential(evidence, fallen),
            teacher(evidence),
            data_free(evidence),
            matched(evidence),
            alpha(evidence),
            axes(evidence),
        ),
    )
