"""The command line, run in this process."""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

import pytest

from bench.cli import main


class Said(NamedTuple):
    """What a command that succeeded has printed."""

    out: str
    err: str


class CommandLine:
    """``code, out, err = bench("list", "methods")``, and shorter words for what tests expect most often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """The exit code, and what is printed on stdout and on stderr."""
        self._monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def ok(self, *arguments: object) -> Said:
        """What it prints; it must succeed."""
        code, out, err = self(*arguments)
        assert code == 0, err
        return Said(out, err)

    def json(self, *arguments: object) -> Any:
        """What it answers with ``--format json``; it must succeed."""
        return json.loads(self.ok(*arguments, "--format", "json").out)
