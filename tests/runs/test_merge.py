"""Runs of several machines in one folder."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import bench as suite
from bench.errors import BenchError, UsageError
from bench.runs.folder import RunFolder
from bench.runs.merge import merge
from bench.runs.store import read_records


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


def test_evaluations_that_were_made_later_follow(machines, tmp_path, bench):
    one, _, shared = machines
    together = tmp_path / "together"
    merge([one], together)
    (one / shared / "evaluations").mkdir()
    (one / shared / "evaluations/digits-5k-1.json").write_text("{}")
    assert (
        bench.ok("merge", one, "--results", together).out == f"{shared}/evaluations/digits-5k-1.json\n"
    )
    assert (together / shared / "evaluations/digits-5k-1.json").read_text() == "{}"
    assert merge([one], together).evaluations == []


@pytest.mark.parametrize(
    "place", ["checkpoints/generator.safetensors", "record.json", "samples/x.png", "new"]
)
@pytest.mark.parametrize("kind", ["link", "link to nowhere", "linked folder", "pipe"])
def test_nothing_is_taken_from_a_run_that_leads_elsewhere(machines, tmp_path, place, kind):
    one, _, shared = machines
    private = tmp_path / "private"
    private.mkdir()
    (private / "key").write_text("a private key")
    path = one / shared / place
    path.parent.mkdir(exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (private / "key").write_bytes(content or b"a private key")
        path.symlink_to(private / "key")
    else:
        path.symlink_to(private if kind == "linked folder" else private / "missing")
    done = merge([one], tmp_path / "together")
    assert shared not in done.taken
    assert len(done.taken) == 1
    assert not (tmp_path / "together" / shared).exists()
    if place != "record.json" or kind == "link":
        assert any(
            f"{shared}/{place}" in sentence and "is a link, a pipe" in sentence for sentence in done.left
        )


def test_a_run_that_is_itself_a_link_is_left(machines, tmp_path):
    one, two, shared = machines
    shutil.rmtree(two / shared)
    (two / shared).symlink_to(one / shared)
    done = merge([two], tmp_path / "together")
    assert shared not in done.taken
    assert any("is a link" in sentence for sentence in done.left)


@pytest.mark.parametrize("name", ["..x", ".hidden", "evaluations", "a\nb", "\x1b[31mred"])
def test_names_that_no_run_has_are_left(machines, tmp_path, name):
    one, _, shared = machines
    (one / shared).rename(one / name)
    text = (one / name / "record.json").read_text()
    (one / name / "record.json").write_text(
        text.replace(f'"run_id": "{shared}"', f'"run_id": {json.dumps(name)}')
    )
    done = merge([one], tmp_path / "together")
    assert len(done.taken) == 1
    assert any("has a name that no run has" in sentence for sentence in done.left)
    assert all(sentence.isprintable() for sentence in done.left)


BROKEN = {
    "deep": b'{"a":' * 100_000,
    "not utf-8": b"\xff\xfe\x00",
    "a number": b"3",
    "a list": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("kind", [*BROKEN, "a folder", "a pipe", "a device"])
def test_a_record_that_is_none_is_named_and_the_others_are_taken(machines, tmp_path, kind):
    one, _, shared = machines
    file = one / shared / "record.json"
    file.unlink()
    if kind in BROKEN:
        file.write_bytes(BROKEN[kind])
    elif kind == "a folder":
        file.mkdir()
    elif kind == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(BenchError, match=r"is damaged \(") as refused:
        RunFolder(one / shared).read_record()
    assert "\n" not in str(refused.value)
    done = merge([one], tmp_path / "together")
    assert len(done.taken) == 1 and len(done.left) == 1
    records, skipped = read_records(one)
    assert (len(records), len(skipped)) == (1, 1)


LINES = [
    "7",
    "[1]",
    "null",
    '"x"',
    '{"updates": "x"}',
    '{"updates": null}',
    "{" * 100_000,
    "[" * 100_000,
    "\ud800",
]


@pytest.mark.parametrize("line", LINES)
def test_a_damaged_training_curve_loses_its_damaged_lines(tmp_path, line):
    folder = RunFolder(tmp_path)
    whole = ['{"updates": 50}', '{"updates": 100}', '{"updates": 150}']
    text = "\n".join([whole[0], line, *whole[1:], '{"upda'])
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("utf-8", "surrogatepass"))
    folder.rewind_log(100)
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == whole[:2]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "nowhere"])
def test_a_training_curve_that_is_no_file_is_named(tmp_path, kind):
    file = tmp_path / "metrics.jsonl"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero" if kind == "device" else "missing")
    with pytest.raises(BenchError, match=r"the training curve .* cannot be read: .*; remove it"):
        RunFolder(tmp_path).rewind_log(1)


def test_an_evaluation_of_other_content_is_kept_as_it_is_and_named(machines, tmp_path):
    one, _, shared = machines
    together = tmp_path / "together"
    (one / shared / "evaluations/folder.json").mkdir(parents=True)
    (one / shared / "evaluations/e.json").write_text("here")
    merge([one], together)
    (one / shared / "evaluations/e.json").write_text("there")
    done = merge([one], together)
    assert (together / shared / "evaluations/e.json").read_text() == "here"
    assert any("is there already with another content" in sentence for sentence in done.left)


def test_no_evaluation_is_added_to_a_run_that_is_not_finished_here(machines, tmp_path):
    one, _, shared = machines
    together = tmp_path / "together"
    merge([one], together)
    folder = RunFolder(together / shared)
    folder.write_record(folder.read_record().model_copy(update={"status": "running"}))
    (one / shared / "evaluations").mkdir()
    (one / shared / "evaluations/e.json").write_text("{}")
    assert merge([one], together).evaluations == []
    assert not (together / shared / "evaluations").exists()
