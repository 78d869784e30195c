"""Runs of several machines in one folder."""

from __future__ import annotations

import shutil

import pytest

import bench as suite
from bench.errors import UsageError
from bench.runs.merge import merge
from bench.runs.store import RunFolder


@pytest.fixture
def machines(tmp_path):
    """Two folders of runs with one run in common, which the second has copied."""
    for name, seeds in (("one", (0, 1)), ("two", (2,))):
        for seed in seeds:
            request = {"budget": "images=32", "settings": {"batch": 32}, "eval": [], "seed": seed}
            suite.run("sid", "edm-digits", results=tmp_path / name, **request)
    shared = next((tmp_path / "one").glob("sid-*-s0-*"))
    shutil.copytree(shared, tmp_path / "two" / shared.name)
    return tmp_path / "one", tmp_path / "two", shared.name


def test_the_same_run_is_taken_once_and_whole(machines, tmp_path, bench):
    one, two, shared = machines
    together = tmp_path / "together"
    out, err = bench.ok("merge", str(one), str(two), "--results", str(together))
    assert sorted(out.split()) == sorted({f.name for f in [*one.iterdir(), *two.iterdir()]})
    assert "3 runs taken, 0 there already" in err
    for file in (one / shared).rglob("*"):
        if file.is_file() and file.name != ".lock":
            assert (together / file.relative_to(one)).read_bytes() == file.read_bytes()
    again = merge([one, two], together)
    assert (again.taken, len(again.there)) == ([], 4)
    assert (
        len(suite.results(together)) == 0 == len(suite.results(one))
    )  # nothing was measured, but all are read
    assert not list(together.glob(".merging-*"))


def test_one_run_with_two_results_is_refused_naming_both_and_nothing_is_copied(machines, tmp_path):
    one, two, shared = machines
    folder = RunFolder(two / shared)
    folder.write_record(folder.read_record().model_copy(update={"final": {"fid": 7.0}}))
    with pytest.raises(
        UsageError, match=rf"one/{shared}' and '.*two/{shared}' are one run with two different results"
    ):
        merge([one, two], tmp_path / "together")
    assert not (tmp_path / "together").exists()


def test_one_run_with_one_result_in_another_time_is_kept_as_it_is_and_named(machines, tmp_path):
    """As the teacher's own row is on every machine that compared anything."""
    one, two, shared = machines
    folder = RunFolder(two / shared)
    folder.write_record(folder.read_record().model_copy(update={"started": "another day"}))
    done = merge([one, two], tmp_path / "together")
    assert len(done.taken) == 3
    assert "is there already with the same result" in done.left[0]
    record = RunFolder(one / shared).read_record()
    RunFolder(one / shared).write_record(record.model_copy(update={"status": "interrupted"}))
    done = merge([two], one)
    assert "is interrupted here and finished in" in done.left[0]


def test_what_is_damaged_or_unfinished_is_named_and_left(machines, tmp_path):
    one, two, shared = machines
    folder = RunFolder(one / shared)
    folder.write_record(folder.read_record().model_copy(update={"status": "interrupted"}))
    (two / shared / "record.json").write_text("{")
    done = merge([one, two], tmp_path / "together")
    assert len(done.taken) == 2
    assert "is not finished" in done.left[0]
    assert "is damaged" in done.left[1]


def test_a_source_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no folder of runs"):
        merge([tmp_path / "nowhere"], tmp_path)
