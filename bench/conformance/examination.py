"""The examination of one registered thing: it is found, and then every check of its kind is carried out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.conformance import dataset, extractor, method, metric, teacher
from bench.conformance.finding import Check, Finding, examine
from bench.conformance.method_subject import MethodSubject
from bench.errors import BenchError, UsageError, unknown

REGISTERS = "is-registered"
"""The name of the first finding: the plugin is imported, and what it registers keeps to the form."""


@dataclass(frozen=True)
class Kind:
    """How things of one kind are examined."""

    subject: Callable[..., Any]
    """From a name, overrides and plugin files to what the checks look at."""
    gates: Sequence[Check]
    checks: Sequence[Check]
    slow: Sequence[Check] = ()

    @property
    def quick(self) -> list[Check]:
        """All that takes no other process."""
        return [*self.gates, *self.checks]


KINDS: Mapping[str, Kind] = {
    "method": Kind(MethodSubject, method.GATES, method.CHECKS, method.SLOW),
    "teacher": Kind(teacher.TeacherSubject, teacher.GATES, teacher.CHECKS),
    "metric": Kind(metric.MetricSubject, metric.GATES, metric.CHECKS),
    "extractor": Kind(extractor.ExtractorSubject, extractor.GATES, extractor.CHECKS),
    "dataset": Kind(dataset.DatasetSubject, dataset.GATES, dataset.CHECKS),
}
"""By the word of the registry."""


def examination(
    kind: str,
    name: str,
    *,
    plugins: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    slow: bool = True,
) -> Iterator[Finding]:
    """Examine what is registered under ``name``: yield a finding for each check, as it is made.

    Args:
        kind: one of ``KINDS``.
        name: under which it is registered, perhaps by one of the plugin files.
        plugins: files that are loaded first.
        settings: of a method, in place of its card's; of a metric, its parameters.

        slow: carry out the checks that start other processes as well.

    Raises UsageError for a name that nothing has.
    """
    fact = f"The plugin imports, and what it registers as {name!r} is a {kind}."
    try:
        for plugin in plugins:
            registry.load_plugin(plugin)
        if name not in registry.REGISTRIES[kind].entries():
            raise _Unknown(str(unknown(kind, name, registry.REGISTRIES[kind].entries())))
        registry.REGISTRIES[kind].get(name)
    except _Unknown:
        raise
    except BenchError as error:
        yield Finding(REGISTERS, fact, "failed", str(error))
        return
    yield Finding(REGISTERS, fact, "passed")
    how = KINDS[kind]
    subject = how.subject(name, settings or {}, tuple(plugins))
    yield from examine(how.gates, [*how.checks, *(how.slow if slow else ())], subject)


class _Unknown(UsageError):
    """A name that nothing has: a mistake of the request, not of a plugin."""
