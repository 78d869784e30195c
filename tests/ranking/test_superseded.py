"""A run whose code has changed is superseded by the run that has taken its place, and by no other."""

from __future__ import annotations

import pytest

from bench.files.code import input_digest
from bench.ranking.superseded import superseded
from bench.runs.card import BY_CODE
from bench.runs.store import read_records
from tests.helpers.records import record, write


def version(code: str, day: int = 1, *, seed: int = 0, **fields):
    """A run of a version of the method's code, begun and finished on one day."""
    settings = fields.pop("settings", {"alpha": 1.0})
    made = record("annealed", seed, 2.0, settings=settings)
    made.recipe.method_digest = code
    times = {
        "started": f"2026-11-{day:02d}T10:00:00+00:00",
        "finished": f"2026-11-{day:02d}T11:00:00+00:00",
    }
    return made.model_copy(update={"run_id": f"annealed-{code}-s{seed}-{day}", **times, **fields})


def pairs(*records):
    return superseded(records)


def test_the_version_that_was_finished_last_counts():
    old, new, newest = version("a", 1), version("b", 2), version("c", 3)
    expected = {old.run_id: newest.run_id, new.run_id: newest.run_id}
    assert pairs(old, new, newest) == pairs(newest, new, old) == expected


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_an_unfinished_run_supersedes_nothing_and_ends_with_what_is_finished_later(status):
    old, new = version("a", 1), version("b", 2, status=status)
    assert pairs(old, new) == {}
    newest = version("c", 3)
    assert pairs(old, new, newest) == {old.run_id: newest.run_id, new.run_id: newest.run_id}


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"settings": {"alpha": 1.2}},
        {"settings": {"alpha": 1.0, "precision": "tf32"}},
        {"teacher": "gaussian"},
    ],
    ids=str,
)
def test_what_was_asked_otherwise_is_another_run(fields):
    old, other = version("a", 1), version("b", 2, **fields)
    if "teacher" in fields:
        other.recipe.teacher = "gaussian"
    assert pairs(old, other) == {}


def test_a_default_in_the_code_belongs_to_the_code():
    old = version("a", 1, sources={"alpha": "given"})
    more = {"alpha": 1.0, "warmup": 100}
    new = version("b", 2, settings=more, sources={"alpha": "given", "warmup": BY_CODE})
    assert pairs(old, new) == {old.run_id: new.run_id}


def test_the_same_code_on_two_machines_is_not_superseded():
    cpu = version("a", 1, settings={"alpha": 1.0, "precision": "fp32"}, sources={"precision": BY_CODE})
    gpu = version("a", 2, settings={"alpha": 1.0, "precision": "tf32"}, sources={"precision": BY_CODE})
    assert pairs(cpu, gpu) == {}


def test_code_that_is_again_what_it_was_makes_its_run_count_again(tmp_path):
    file, records = tmp_path / "annealed.py", {}
    for day, (code, text) in enumerate([("a", "x = 1\n"), ("b", "x = 2\n")], 1):
        file.write_text(text)
        records[code] = version(code, day, inputs={str(file): input_digest(file)})
    assert pairs(*records.values()) == {records["a"].run_id: records["b"].run_id}
    file.write_text("x = 1  # as before\n")
    assert pairs(*records.values()) == {records["b"].run_id: records["a"].run_id}
    file.unlink()  # on another machine: the last one that was finished
    assert pairs(*records.values()) == {records["a"].run_id: records["b"].run_id}


@pytest.fixture
def three_versions(tmp_path):
    """A results folder of two versions of three seeds, and a method of one version."""
    made = [version("a", 1, seed=seed) for seed in range(3)]
    made += [version("b", 2, seed=seed) for seed in range(3)]
    made += [record("sid", seed, 3.0) for seed in range(3)]
    write(made, tmp_path / "runs")
    assert len(read_records(tmp_path / "runs")[0]) == 9
    return ["--results", tmp_path / "runs"]


def test_a_table_has_each_row_once_and_says_how_to_see_the_others(bench, three_versions):
    out, err = bench.ok("table", "--format", "csv", *three_versions)
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["annealed", "sid"]
    assert (
        "left out: 3 superseded runs (the code has changed, and newer runs stand for them); --include-superseded"
        in err
    )
    rows = bench.json("table", "--include-superseded", *three_versions)
    assert sorted(row["method"] for row in rows) == ["annealed", "annealed", "sid"]


def test_a_report_and_a_figure_leave_superseded_runs_out_and_say_so(bench, three_versions, tmp_path):
    for command in (["report"], ["plot", "cost"]):
        file = tmp_path / ("r.html" if command == ["report"] else "c.svg")
        err = bench.ok(*command, "-o", file, *three_versions).err
        assert "left out: 3 superseded runs" in err
        assert (
            "left out: 3"
            not in bench.ok(*command, "-o", file, "--include-superseded", *three_versions).err
        )


def test_superseded_runs_are_listed_when_they_are_asked_for(bench, three_versions):
    rows = bench.json("list", "runs", *three_versions)
    assert [row["run"] for row in rows] == [f"{i:05d}" for i in range(3, 9)]
    assert "left out: 3 superseded runs" in bench.ok("list", "runs", *three_versions).err
    left_out = bench.json("list", "runs", "--superseded", *three_versions)
    assert [(row["run"], row["code"]) for row in left_out] == [
        (f"{i:05d}", f"superseded by {i + 3:05d}") for i in range(3)
    ]


def test_a_run_that_is_named_is_shown_though_another_supersedes_it(bench, three_versions):
    (row,) = bench.json("table", "--run", "00001", *three_versions)
    assert (row["method"], row["seeds"]) == ("annealed", 1)
    assert [row["run"] for row in bench.json("list", "runs", "--run", "00001", *three_versions)] == [
        "00001"
    ]


def test_places_and_the_code_that_measures_are_not_asked_for():
    old, new = version("a", 1), version("b", 2)
    for made, name in ((old, "old"), (new, "new")):
        plan = made.recipe.evaluation
        plan.code, plan.reference, plan.extractor_path = (f"/{name}/{field}" for field in "abc")
    assert pairs(old, new) == {old.run_id: new.run_id}


def test_a_precision_that_the_code_gives_tells_versions_apart_all_the_same():
    fields = {"sources": {"precision": BY_CODE}}
    old = version("a", 1, settings={"alpha": 1.0, "precision": "fp32"}, **fields)
    new = version("b", 2, settings={"alpha": 1.0, "precision": "tf32"}, **fields)
    assert pairs(old, new) == {}
