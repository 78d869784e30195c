"""What the README says works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.cli import app
from bench.conformance.examination import examination

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for marked, text in fenced if marked == language]


def test_the_example_method_runs_by_the_command_beside_it(bench, tmp_path, monkeypatch):
    code = next(block for block in blocks("python") if "@register_method" in block)
    command = next(block for block in blocks() if "self_denoise.py" in block).replace("\\\n", " ")
    (tmp_path / "self_denoise.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    status, out, err = bench(*shlex.split(command)[1:], "--eval-samples", "50")
    assert status == 0, err
    assert "self-denoise" in out


def test_the_example_method_keeps_its_contract(tmp_path):
    code = next(block for block in blocks("python") if "@register_method" in block)
    (tmp_path / "self_denoise.py").write_text(code)
    findings = examination("method", "self-denoise", plugins=[tmp_path / "self_denoise.py"], slow=False)
    assert [finding for finding in findings if finding.outcome == "failed"] == []


def test_the_example_metric_measures(bench, tmp_path):
    plugin = tmp_path / "mean_distance.py"
    plugin.write_text(next(block for block in blocks("python") if "@register_metric" in block))
    asked = [
        "eval",
        "teacher:edm-digits",
        "--plugin",
        str(plugin),
        "--metrics",
        "mean-distance",
        "--eval-samples",
        "50",
    ]
    status, out, err = bench(*asked, "--eval-repeats", "1")
    assert status == 0, err
    assert out.startswith("mean-distance ↓")


def test_every_command_in_the_readme_exists():
    commands = set(
        re.findall(
            r"\bbench (run|table|list|show|sample|train|stats|fetch|eval|doctor|[a-z]+) ",
            "\n".join(blocks()),
        )
    )
    known = {c.name for c in app.registered_commands}
    assert commands <= known
    assert {"run", "table", "list", "show", "sample", "eval", "fetch", "stats", "doctor"} <= commands


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_file_that_the_readme_points_to_is_there(target):
    assert target.startswith("http") or (ROOT / target).exists()
