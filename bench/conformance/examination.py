"""The examination of one registered thing: it is found, and then every check of its kind is carried out."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.conformance import dataset, extractor, method, metric, teacher
from bench.conformance.finding import Check, Finding, examine
from bench.conformance.method_subject import MethodSubject
from bench.errors import BenchError, UsageError, unknown
from bench.files.paths import written_path

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
    settings: Callable[[Any], Iterable[str]] | None = None
    """From a thing to the names of what may be set; None where nothing may."""

    def require_known(self, kind: str, name: str, settings: Iterable[str]) -> None:
        """Raise UsageError for a setting that the thing ``name`` of this kind does not have."""
        for setting in settings:
            if self.settings is None:
                raise UsageError(
                    f"settings are for methods and metrics, given {setting!r} for the {kind} {name!r}; leave "
                    "it out."
                )
            known = list(self.settings(registry.REGISTRIES[kind].get(name)))
            if setting not in known:
                raise unknown(f"setting of {kind} {name!r}:", setting, known)

    @property
    def count(self) -> int:
        """Number of findings on a thing of which no gate fails."""
        return 1 + len(self.quick) + len(self.slow)

    @property
    def quick(self) -> list[Check]:
        """All that takes no other process."""
        return [*self.gates, *self.checks]


def _parameters(metric: type) -> list[str]:
    """List the parameters that a metric is made with."""
    return [*inspect.signature(metric).parameters]


KINDS: Mapping[str, Kind] = {
    "method": Kind(
        MethodSubject, method.GATES, method.CHECKS, method.SLOW, lambda cls: cls.Settings.model_fields
    ),
    "teacher": Kind(teacher.TeacherSubject, teacher.GATES, teacher.CHECKS),
    "metric": Kind(metric.MetricSubject, metric.GATES, metric.CHECKS, settings=_parameters),
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
        name: under which it is registered, perhaps by one of the plugin files; a teacher's source may follow,
            as in ``diffusers:FOLDER``, and of a data set it may be a path.
        plugins: files that are loaded first.
        settings: of a method, in place of its card's; of a metric, its parameters.
        slow: carry out the checks that start other processes as well.

    Raises UsageError for a name that nothing has, for a setting that the thing does not have, and for a
    plugin file that is not there.
    """
    fact = f"The plugin imports, and what it registers as {name!r} is a {kind}."
    base = name.partition(":")[0] if kind == "teacher" else name  # NAME:SOURCE stands for one of many
    by_path = kind == "dataset" and Path(name).exists()
    for missing in (plugin for plugin in plugins if not written_path(plugin).is_file()):
        registry.load_plugin(missing)  # which says so
    try:
        for plugin in plugins:
            registry.load_plugin(plugin)
        entries = registry.REGISTRIES[kind].entries()
        if base in entries:
            registry.REGISTRIES[kind].get(base)
    except BenchError as error:
        yield Finding(REGISTERS, fact, "failed", str(error))
        return
    if base not in entries and not by_path:
        raise unknown(kind, name, entries)
    how = KINDS[kind]
    how.require_known(kind, name, settings or ())
    yield Finding(REGISTERS, fact, "passed")
    subject = how.subject(name, settings or {}, tuple(plugins))
    yield from examine(how.gates, [*how.checks, *(how.slow if slow else ())], subject)
