"""A run is removed whole or not at all, and never under a process that works on it."""

from __future__ import annotations

import io
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.runs.folder import RunFolder
from bench.runs.remove import bytes_of, remove_run
from bench.runs.store import read_runs
from tests.helpers.records import record, write


@pytest.fixture
def runs(tmp_path):
    """Three finished runs, the first with weights and an evaluation beside its record."""
    folder = tmp_path / "runs"
    write([record("sid", seed) for seed in range(3)], folder)
    for place in ("checkpoints/generator.safetensors", "evaluations/clean-50k-1.json"):
        (folder / "00000" / place).parent.mkdir()
        (folder / "00000" / place).write_bytes(b"0" * 1_000_000)
    return folder


def names(folder: Path) -> list[str]:
    found, skipped = read_runs(folder)
    assert skipped == []
    return [run.path.name for run, _ in found]


def test_runs_are_removed_with_all_that_is_beside_them(bench, runs):
    before = bytes_of(RunFolder(runs / "00000"))
    assert 2_000_000 < before < 2_010_000
    out, err = bench.ok("rm", "00000", runs / "00002", "--yes", "--results", runs)
    assert [line.split() for line in out.splitlines()] == [["00000", "2MB"], ["00002", out.split()[-1]]]
    assert "2 runs of 2MB removed" in err
    assert [path.name for path in runs.iterdir()] == ["00001"]


def test_a_dry_run_removes_nothing(bench, runs):
    out, err = bench.ok("rm", "00000", "--dry-run", "--results", runs)
    assert out == "00000  2MB\n"
    assert "1 run of 2MB would be removed" in err
    assert names(runs) == ["00000", "00001", "00002"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["00000"], "has to be confirmed, and there is no terminal to ask at; give --yes, or --dry-run"),
        (["0000", "--yes"], "'0000' is the beginning of 3 runs: 00000, 00001, 00002; give more of it."),
        (["00001", "sid-x", "--yes"], "unknown run 'sid-x'"),
        ([], "no run is named; `bench list runs` shows what there is."),
        (["", "--yes"], "a run's name is empty; `bench list runs` shows what there is."),
    ],
)
def test_what_is_not_clear_removes_nothing(bench, runs, arguments, sentence):
    code, out, err = bench("rm", *arguments, "--results", runs)
    assert (code, out) == (2, "")
    assert sentence in err
    assert names(runs) == ["00000", "00001", "00002"]


def test_all_superseded_runs_go_at_once(bench, runs):
    code, _, err = bench("rm", "--superseded", "--yes", "--results", runs)
    assert (code, err) == (2, "error: no run is superseded; `bench list runs` shows what there is.\n")
    for name, day in (("kd-old", 1), ("kd-new", 2)):
        made = record("kd", 0)
        made.recipe.method_digest, made.finished = name, f"2026-11-0{day}T00:00:00+00:00"
        made.run_id = name
        (runs / name).mkdir()
        (runs / name / "record.json").write_text(made.model_dump_json())
    (runs / "kd-old").rename(runs / "renamed")
    assert "renamed" in bench.ok("rm", "--superseded", "--yes", "--results", runs).out
    assert names(runs) == ["00000", "00001", "00002", "kd-new"]


def test_a_run_is_looked_for_in_the_results_and_not_in_the_working_directory(
    bench, runs, tmp_path, monkeypatch
):
    write([record("sid", 0)], tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    bench.ok("rm", "00000", "--yes", "--results", runs)
    assert (names(runs), names(Path())) == (["00001", "00002"], ["00000"])
    bench.ok("rm", "./00000", "--yes", "--results", runs)
    assert (names(runs), names(Path())) == (["00001", "00002"], [])


def test_a_run_that_is_named_twice_is_removed_once(bench, runs):
    out, err = bench.ok("rm", "00000", runs / "00000", "--yes", "--results", runs)
    assert out == "00000  2MB\n"
    assert "1 run of 2MB removed" in err


def test_the_only_run_is_not_that_of_an_empty_name(bench, tmp_path):
    write([record("sid", 0)], tmp_path / "runs")
    assert bench("rm", "", "--yes", "--results", tmp_path / "runs")[0] == 2
    assert names(tmp_path / "runs") == ["00000"]


def test_several_may_remove_runs_at_the_same_time(tmp_path):
    write([record("sid", seed) for seed in range(60)], tmp_path)
    folders = [folder for folder, _ in read_runs(tmp_path)[0]]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(remove_run, folders)] == [None] * 60
    assert [*tmp_path.iterdir()] == []


class Terminal(io.StringIO):
    """A person at the keyboard."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("n\n", 3), ("y\n", 2)])
def test_a_person_is_asked(bench, runs, monkeypatch, answer, left):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code, _, err = bench("rm", "00000", "--results", runs)
    assert "Remove 1 run of 2MB?" in err
    assert (code, len(names(runs))) == (int(left == 3), left)


def test_a_run_that_a_process_works_on_is_not_removed_nor_are_those_named_beside_it(bench, runs):
    with RunFolder(runs / "00001").locked():
        code, _, err = bench("rm", "00000", "00001", "--yes", "--results", runs)
    assert (code, names(runs)) == (75, ["00000", "00001", "00002"])
    assert "a process works on the run 00001; wait for it, or stop it first." in err


def test_a_dry_run_lists_a_run_that_a_process_works_on_and_says_so(bench, runs):
    with RunFolder(runs / "00000").locked():
        out, err = bench.ok("rm", "00000", "--dry-run", "--results", runs)
    assert out == "00000  2MB\n"
    assert "a process works on the run 00000" in err


@pytest.mark.parametrize("step", ["rename", "rmtree"])
def test_a_removal_that_is_killed_leaves_the_run_or_nothing_that_is_read_as_one(runs, monkeypatch, step):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "rename") if step == "rename" else (shutil, "rmtree")), die)
        with pytest.raises(KeyboardInterrupt):
            remove_run(RunFolder(runs / "00000"))
    left = {"rename": ["00000", "00001", "00002"], "rmtree": ["00001", "00002"]}[step]
    assert names(runs) == left
    remove_run(RunFolder(runs / left[0]))  # which takes away what was left
    assert sorted(path.name for path in runs.iterdir()) == left[1:]


def test_a_link_to_a_run_is_not_followed(runs, bench):
    (runs / "link").symlink_to(runs / "00000")
    code, _, err = bench("rm", runs / "link", "--yes", "--results", runs)
    assert code == 2
    assert "is a link to a run; remove the link, or name what it leads to." in err
    assert (runs / "00000" / "record.json").exists()


def test_superseded_runs_are_removed_from_the_folder_that_was_named(bench, tmp_path, monkeypatch):
    """Not from the folder in which the command is given, where copies of them may lie."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        versions = [record("sid", 0, 2.0), record("sid", 0, 3.0)]
        for digest, made in enumerate(versions):
            made.recipe.method_digest = str(digest)
            made.finished = f"2026-11-0{digest + 1}T00:00:00+00:00"
        write(versions, folder)
    monkeypatch.chdir(here)
    bench.ok("rm", "--superseded", "--yes", "--results", there)
    assert [len(names(folder)) for folder in (here, there)] == [2, 1]
    (left,) = names(there)
    bench.ok("rm", left, "--yes", "--results", there)
    assert [len(names(folder)) for folder in (here, there)] == [2, 0]
