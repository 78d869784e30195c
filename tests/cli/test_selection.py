"""Tables, reports, figures and lists of some runs: by method, teacher, id, seed and date."""

from __future__ import annotations

import re

import pytest

from tests.helpers.records import record, write


@pytest.fixture
def study(tmp_path):
    """Two methods of two seeds, begun on four days, and their teacher measured before."""
    made = [record(method, seed, 2.0 + seed) for method in ("sid", "dmd") for seed in (0, 1)]
    made.append(record("teacher", 0, 1.0, nfe=35))
    for day, run in enumerate(made, 10):
        run.started = f"2026-11-{day}T23:30:00+00:00"
    made[-1].started = "2026-11-01T00:00:00+00:00"
    write(made, tmp_path / "runs")
    return ["--results", tmp_path / "runs"]


@pytest.mark.parametrize(
    ("flags", "runs"),
    [
        ([], "01234"),
        (["--method", "sid,teacher"], "014"),
        (["--teacher", "edm-digits"], "01234"),
        (["--run", "00001"], "1"),
        (["--run", "0000"], "01234"),
        (["--seed", "1"], "13"),
        (["--since", "2026-11-12"], "23"),
        (["--until", "2026-11-10"], "04"),
        (["--until", "9999-12-31"], "01234"),
        (["--since", "2026-11-11T23:30", "--until", "2026-11-12T23:30"], "12"),
        (["--since", "2026-11-13T00:30+01:00"], "23"),
        (["--seed", "0,1", "--method", "dmd", "--until", "2026-11-12"], "2"),
    ],
)
def test_a_list_has_the_runs_that_are_chosen(bench, study, flags, runs):
    rows = bench.json("list", "runs", *flags, *study)
    assert [row["run"] for row in rows] == [f"0000{i}" for i in runs]


@pytest.mark.parametrize(
    ("flags", "rows"),
    [
        (["--seed", "1"], {"teacher": 1, "sid": 1, "dmd": 1}),
        (["--since", "2026-11-12"], {"teacher": 1, "dmd": 2}),
        (["--run", "00000,00002"], {"teacher": 1, "sid": 1, "dmd": 1}),
        (["--method", "sid", "--seed", "0"], {"sid": 1}),
    ],
)
def test_a_table_is_of_the_chosen_runs_and_their_teacher(bench, study, flags, rows):
    table = bench.json("table", *flags, *study)
    assert {row["method"]: row["seeds"] for row in table} == rows


def test_a_row_alone_knows_its_teachers_number(bench, study):
    columns = ["--columns", "method,to-2x", "--method", "sid", "--seed", "0"]
    assert bench.ok("table", *columns, *study).out.splitlines()[1].split() == ["sid", "2k"]


def test_a_report_and_a_figure_are_of_the_chosen_runs(bench, study, tmp_path):
    file = tmp_path / "report.html"
    assert "2 rows of 2 runs" in bench.ok("report", "--run", "00003", "-o", file, *study).err
    caption = bench.ok("plot", "cost", "--seed", "1", "-o", tmp_path / "cost.svg", *study).out
    assert "2 seeds" not in caption


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["table", "--seed", "one"], "--seed 'one' is not a number; give some, such as --seed 0,1."),
        (["table", "--since", "monday"], "--since 'monday' is no date; give one such as 2026-11-20"),
        (["table", "--run", "x-y"], "unknown run 'x-y'; "),
        (["report", "--method", "sidd"], "unknown method 'sidd'; did you mean 'sid'?"),
        (["list", "runs", "--method", "sidd"], "unknown method 'sidd'; did you mean 'sid'?"),
        (["list", "methods", "--seed", "0"], "--seed chooses runs; say `bench list runs`"),
        (["list", "evals", "--superseded"], "--superseded chooses runs; say `bench list runs`"),
    ],
)
def test_a_choice_that_means_nothing_is_one_sentence(bench, study, arguments, sentence):
    code, out, err = bench(*arguments, *study)
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_table_that_would_be_empty_says_what_was_asked(bench, study):
    code, _, err = bench("table", "--since", "2027-01-01", *study)
    assert code == 1
    assert re.search("no finished run in '.*runs' with --since 2027-01-01; make one", err)


def test_a_list_that_would_be_empty_says_that_there_are_runs(bench, study, tmp_path):
    assert bench.ok("list", "runs", "--since", "2027-01-01", *study).err == "none of 5 runs is chosen\n"
    assert bench.ok("list", "runs", "--results", tmp_path / "none").err == "no runs yet\n"


def test_published_numbers_stand_beside_the_runs_that_are_chosen(bench, tmp_path):
    made = [record("sid", 0, 2.0, teacher=teacher) for teacher in ("edm-cifar10", "edm-ffhq64")]
    write(made, tmp_path / "runs")
    asked = ["table", "--published", "--run", "00001", "--results", tmp_path / "runs"]
    assert {row["teacher"] for row in bench.json(*asked)} == {"edm-ffhq64"}
    only_published = {row["teacher"] for row in bench.json(*asked, "--method", "sid,pd")}
    assert only_published == {"edm-ffhq64"}
