"""Tests of a plugin's contract, for its own test suite: each check of ``bench check`` as a test of pytest.

A package that announces the method ``mine`` tests it in three lines, and of a plugin file in four:

    from bench.testing import MethodContract

    class TestMine(MethodContract):
        name = "mine"
        plugin = Path(__file__).with_name("mine.py")  # which no package announces
"""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench import registry
from bench.conformance.examination import KINDS
from bench.conformance.finding import Check, look, name_of


class Contract:
    """The tests of one thing, or of several of ``names``. A warning is no failure, and what does not concern
    a thing is skipped.
    """

    kind: ClassVar[str]
    name: ClassVar[str] = ""
    """Under which it is registered."""
    names: ClassVar[tuple[str, ...]] = ()
    """In place of ``name``, several."""
    plugin: ClassVar[str | Path | None] = None
    """The file that registers it, if no installed package announces it."""
    settings: ClassVar[dict[str, Any]] = {}
    """Of a method, in place of those of its card; of a metric, its parameters."""
    slow: ClassVar[bool] = True
    """Whether checks that start other processes, some seconds each, are made as well."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test of each thing and check. A subclass may have tests of its own beside them."""
        if not {"thing", "check"} <= {*metafunc.fixturenames}:
            return
        how = KINDS[self.kind]
        checks = [*how.quick, *(how.slow if self.slow else ())]
        cases = [
            pytest.param(name, check, id=f"{name}-{name_of(check)}")
            for name in self.names or (self.name,)
            for check in checks
        ]
        metafunc.parametrize(("thing", "check"), cases)

    def test_keeps_its_contract(self, thing: str, check: Check) -> None:
        plugins = () if self.plugin is None else (Path(self.plugin),)
        for plugin in plugins:
            registry.load_plugin(plugin)
        finding = look(check, KINDS[self.kind].subject(thing, self.settings, plugins))
        if finding.outcome == "skipped":
            pytest.skip(finding.reason)
        assert finding.outcome != "failed", finding.sentence


class MethodContract(Contract):
    """The tests of a method."""

    kind = "method"


class TeacherContract(Contract):
    """The tests of a teacher, whose weights must be at hand."""

    kind = "teacher"


class MetricContract(Contract):
    """The tests of a metric."""

    kind = "metric"


class ExtractorContract(Contract):
    """The tests of a feature extractor, whose weights must be at hand."""

    kind = "extractor"


class DatasetContract(Contract):
    """The tests of a data set, whose files must be at hand."""

    kind = "dataset"
