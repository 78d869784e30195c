"""Before a grid trains, it is said which of its runs are carried out again, and why."""

from __future__ import annotations

import pytest

import bench as suite
from bench import registry
from bench.runs.grid import grid_runs, repetitions
from bench.runs.recipe import make_request
from tests.helpers.plugins import METHOD, SETTINGS, plugin

WORDS = {"teacher": "edm-digits", "settings": SETTINGS, "budget": "updates=2", "eval": []}


@pytest.fixture
def grid(tmp_path):
    """Two finished methods of a plugin file each; a function that looks at the grid once more."""
    files = [plugin(tmp_path, METHOD.format(name=name), f"{name}.py") for name in ("plain", "annealed")]
    requests = [
        make_request(method=name, plugins=[str(f) for f in files], **WORDS)
        for name in ("plain", "annealed")
    ]
    for request in requests:
        suite.run(**request.model_dump(), results=tmp_path / "runs")
    return lambda: grid_runs(requests, tmp_path / "runs")


def edit(file):
    """Add a line that is code."""
    file.write_text(file.read_text().replace("    def build", "    log_every = 1\n\n    def build"))


def test_a_grid_whose_code_is_as_it_was_repeats_nothing(grid):
    assert [run.state for run in grid()] == ["done", "done"]
    assert repetitions(grid()) == []


def test_an_edit_of_one_method_repeats_its_runs_and_says_why(grid, tmp_path):
    edit(tmp_path / "annealed.py")
    assert [run.state for run in grid()] == ["done", "waiting"]
    (sentence,) = repetitions(grid())
    assert sentence.startswith(
        "1 of 2 runs will be carried out again, as annealed.py has changed since: annealed ("
    )


def test_the_runs_that_were_repeated_supersede_those_of_before_and_no_others(grid, tmp_path, bench):
    before = {run.request.method: run.record.run_id for run in grid()}
    edit(tmp_path / "annealed.py")
    for run in grid():
        suite.run(**run.request.model_dump(), results=tmp_path / "runs")
    assert repetitions(grid()) == []
    listed = ["list", "runs", "--results", tmp_path / "runs"]
    after = {row["run"]: row["code"] for row in bench.json(*listed)}
    assert after == {before["plain"]: "current", grid()[1].record.run_id: "current"}
    (row,) = bench.json(*listed, "--superseded")
    assert row["run"] == before["annealed"]


def test_a_card_that_has_changed_is_no_certain_reason(grid, tmp_path):
    for run in grid():
        run.changed, run.state = [tmp_path / "plain.yaml"], "waiting"
        (sentence,) = repetitions([run])
        assert "1 of 1 runs will be carried out again where that changes them, as plain.yaml" in sentence


def test_a_dry_run_says_it_as_well(grid, tmp_path, bench):
    edit(tmp_path / "plain.py")
    registry._from_files.clear()
    registry._loaded_files.clear()
    text = f"""
teachers: [edm-digits]
methods: [{{method: plain, settings: {SETTINGS}}}, {{method: annealed, settings: {SETTINGS}}}]
seeds: [0]
budget: updates=2
eval: []
with_teacher: false
plugins: [{tmp_path / "plain.py"}, {tmp_path / "annealed.py"}]
"""
    (tmp_path / "suite.yaml").write_text(text)
    out, err = bench.ok("compare", tmp_path / "suite.yaml", "--results", tmp_path / "runs", "--dry-run")
    assert "1 of 2 runs will be carried out again, as plain.py has changed since: plain" in err
    assert "0 of 1" in out
