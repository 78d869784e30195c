"""The final numbers of finished runs, each with what makes it comparable."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.ranking.variants import group_of, measured_how
from bench.runs.record import Measurement, Record


@dataclass(frozen=True)
class Final:
    """One final number of one run."""

    record: Record
    group: str
    """Name of the runs that differ only in their seed."""
    metric: str
    protocol: str
    fingerprint: str
    """Fingerprint of what makes two numbers comparable beyond the id of the protocol."""
    value: float
    std: float | None
    """Standard deviation over the replicates."""
    replicates: tuple[float, ...]
    """The number of each replicate; of a single one, or where the record does not say, ``value``."""

    @property
    def key(self) -> tuple[str, str]:
        """The metric and the protocol of ``MetricColumn`` that the number stands under."""
        return self.metric, f"{self.protocol}@{self.fingerprint}"


def final_numbers(records: Iterable[Record]) -> Iterator[Final]:
    """Yield every final number of the finished runs.

    Where papers quote the smallest of the replicates, that is a metric of its own, such as ``fid-min3``.
    """
    for record in records:
        if record.status != "done" or not record.evaluations:
            continue
        group = group_of(record)
        for name, m in record.evaluations[-1].metrics.items():
            same, value = (m.protocol, measured_how(record, name)), record.final[name]
            yield Final(record, group, name, *same, value, m.std, tuple(m.values or (value,)))
            if m.smallest is not None:
                smallest = f"{name}-min{_replicates(record, m)}"
                yield Final(record, group, smallest, *same, m.smallest, None, (m.smallest,))


def smallest_of(record: Record) -> list[str]:
    """Return the metrics of a record that are the smallest of replicates, such as ``fid-min3``."""
    last = record.evaluations[-1].metrics.items() if record.evaluations else ()
    return [f"{name}-min{_replicates(record, m)}" for name, m in last if m.smallest is not None]


def _replicates(record: Record, measured: Measurement) -> int:
    plan = record.recipe.evaluation
    return len(measured.values or ()) or (plan and plan.repeats) or 1
