"""Tuning by successive halving, as a person and a plugin's author use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import bench as suite
from bench import halving, registry
from bench.errors import Interrupted, UsageError
from bench.runs.folder import RunFolder
from bench.runs.grid import GridRun, shared_seeds
from bench.runs.recipe import make_request
from bench.runs.search import Range
from bench.runs.store import results_folder
from bench.settings import choose_settings, published_choice
from tests.helpers.plugins import METHOD, SETTINGS, plugin, set_flags
from tests.helpers.records import record


class Runs:
    """Stands in for the carrying out of a suite: FID is far from its best at a learning rate of 0.001."""

    def __init__(self, stop_after: int | None = None, failing: float | None = None) -> None:
        self.asked, self.known, self.stop_after, self.failing = [], {}, stop_after, failing

    def __call__(self, suite, *_, **__):
        if self.stop_after == len(self.asked):
            self.stop_after = None
            raise Interrupted("stopped")
        self.asked.append(suite)
        return [self.carry_out(request) for request in suite.requests()]

    def carry_out(self, request):
        words = request.model_dump_json()
        if words not in self.known:
            lr = request.settings["lr"]
            fid = 1 + abs(lr - 1e-3) * 1e3 + request.seed % 10 / 100
            made = record(request.method, request.seed, fid, settings=request.settings)
            self.known[words] = (
                GridRun(request, "failed", error="the loss is not finite")
                if lr == self.failing
                else GridRun(request, "done", made)
            )
        return self.known[words]


@pytest.fixture
def runs(monkeypatch):
    made = Runs()
    monkeypatch.setattr(halving, "carry_out_suite", lambda *a, **k: made(*a, **k))
    return made


def facts(done):
    return [
        (s.number, dict(s.settings), s.values)
        for one in done
        for rung in one.rounds
        for s in rung.standings
    ]


def test_every_method_has_the_same_effort_and_its_present_recipe_comes_to_the_last_rung(runs, tmp_path):
    methods = ["sid", "scd", "dmd2"]
    done = suite.halve(methods, "edm-digits", effort="flops=12T", results=tmp_path)
    for one in done:
        assert [len(r.standings) for r in one.rounds] == [9, 3, 2]
        assert len({str(s.settings) for s in one.rounds[0].standings}) == 9
        present = choose_settings(registry.methods.get(one.method), "edm-digits", {}).settings
        for rung in one.rounds:
            assert rung.standings[0].number == 0
            assert all(
                getattr(present, name) == value for name, value in rung.standings[0].settings.items()
            )
        recipe = one.rounds[-1].standings[0].value
        assert one.best.value <= recipe
    assert [entry.seeds for entry in runs.asked] == [[1000], [1001], [1002, 1003]]
    requests = [request for asked in runs.asked for request in asked.requests()]
    assert all(request.trial and request.eval == ["fid"] for request in requests)
    for method in methods:
        spent = sum(float(r.budget.split("=")[1]) for r in requests if r.method == method)
        assert spent == 9 * 222e9 + 3 * 666e9 + 4 * 2e12
    warm_ups = {r.budget: r.settings.get("warmup_images") for r in requests if r.method == "scd"}
    assert warm_ups["flops=222000000000"] in (round(100_000 * 0.111), round(300_000 * 0.111))
    assert warm_ups["flops=2000000000000"] in (100_000, 300_000)
    assert "ema_halflife" not in requests[-1].settings


def test_methods_of_unequal_budgets_are_not_tuned_with_unequal_efforts_in_silence(runs, tmp_path):
    search = {"lr": [1e-5, 2e-5, 3e-5, 4e-5]}
    with pytest.raises(UsageError, match=r"unequal efforts \(sid images=3G of images=500M, dmd images="):
        suite.halve(["sid", "dmd"], "edm-cifar10", search=search, results=tmp_path)


def test_the_second_choice_has_the_authors_values_where_they_lie_in_the_space():
    space = {
        "lr": Range(low=1e-4, high=1e-2),
        "fake_lr": Range(values=[1.0, 2.0], times="lr"),
        "beta1": Range(values=[0.0, 0.9]),
        "init_sigma": Range(values=[2.5, 80.0]),
    }
    present = {"lr": 2e-3, "fake_lr": 4e-3, "beta1": 0.0, "init_sigma": 2.5}
    chosen = published_choice(registry.methods.get("dmd"), space, present)
    assert chosen == {"lr": 2e-3, "fake_lr": 2e-3, "beta1": 0.9, "init_sigma": 80}


def test_a_search_that_was_stopped_goes_on_to_the_same_end(runs, tmp_path, monkeypatch):
    whole = suite.halve(["sid"], "edm-digits", results=tmp_path)
    for stop_after in range(3):
        stopped = Runs(stop_after)
        monkeypatch.setattr(halving, "carry_out_suite", stopped)
        with pytest.raises(Interrupted):
            suite.halve(["sid"], "edm-digits", results=tmp_path)
        assert facts(suite.halve(["sid"], "edm-digits", results=tmp_path)) == facts(whole)
        assert {*stopped.known} == {*runs.known}


def test_a_diverged_trial_counts_as_the_worst_and_the_others_go_on(monkeypatch, tmp_path):
    present = choose_settings(registry.methods.get("sid"), "edm-digits", {}).settings.lr
    monkeypatch.setattr(halving, "carry_out_suite", Runs(failing=present))
    (done,) = suite.halve(["sid"], "edm-digits", results=tmp_path)
    assert done.rounds[-1].standings[0].value is None  # the present recipe, which came up all the same
    assert done.best.number != 0
    assert done.failed >= 4
    assert "over the present recipe, which failed" in done.last_line


def test_a_plugins_card_is_enough(runs, tmp_path):
    file = plugin(tmp_path, METHOD.format(name="carded"), "carded.py")
    file.with_suffix(".yaml").write_text(
        "scaled: [batch]\nteachers:\n  gaussian:\n"
        + "".join(
            f"    {name}: {{value: {value}, source: mine}}\n"
            for name, value in {**SETTINGS, "budget": "images=9k"}.items()
        )
        + "search:\n  gaussian:\n    lr: {low: 1.0e-4, high: 1.0e-2, reason: mine}\n"
    )
    (done,) = suite.halve(["carded"], "gaussian", results=tmp_path, plugins=[str(file)])
    assert str(done.effort) == "images=54000"
    first, last = runs.asked[0].requests(), runs.asked[-1].requests()
    assert {(r.settings["batch"], r.settings["ema_halflife"]) for r in first} == {(2, 11.1)}
    assert {*last[0].settings} == {"lr"}


def test_real_runs_are_kept_out_of_tables_found_again_and_repeated_where_missing(bench, tmp_path):
    file = plugin(tmp_path, METHOD.format(name="small"), "small.py")
    settings = {name: value for name, value in SETTINGS.items() if name != "lr"}
    words = ["--method", "small", "--teacher", "gaussian", "--plugin", str(file)]
    words += [
        *set_flags(settings | {"ema_halflife": 100}),
        "--budget",
        "updates=4",
        "--eval-samples",
        "60",
    ]
    words += ["--by", "halving", "--effort", "updates=12", "--rungs", "2", "--last-seeds", "1"]
    words += ["--search", "lr=1e-3,1e-2,1e30", "--eval-repeats", "1", "--eta", "4"]
    file.with_suffix(".yaml").write_text("defaults:\n  lr: {value: 1.0e-3, source: mine}\n")
    card = tmp_path / "new.yaml"
    (found,) = json.loads(bench.ok("sweep", *words, "--format", "json", "--card", card).out)
    first, last = found["rungs"]
    assert (first["budget"], len(first["trials"]), len(last["trials"])) == ("updates=1", 3, 2)
    assert 0 in {trial["trial"] for trial in last["trials"]}
    assert first["trials"][-1]["value"] is None
    assert first["trials"][-1]["settings"]["lr"] == 1e30
    assert "lr" in card.read_text()

    # The best of several is no fair number of its settings, and no table has it unless it is named.
    assert bench("table")[0] == 1
    assert len(bench.json("table", "--seed", "1001")) == 2

    begun = {run["run"]: run["started"] for run in bench.json("list", "runs")}
    gone = last["trials"][0]["run_ids"][0]
    shutil.rmtree(results_folder() / Path(gone))
    shown = bench.ok("sweep", *words)
    assert "wins with FID" in shown.out
    assert "Trial 2 failed at updates=1" in shown.out or "Trial 1 failed at updates=1" in shown.out
    again = {run["run"]: run["started"] for run in bench.json("list", "runs")}
    assert {run for run, started in begun.items() if again[run] != started} == {gone}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by", "halving", "--trials", "3"], "--trials 3 is not for halving"),
        (["--effort", "flops=12T"], "--effort is for halving"),
        (["--last-seeds", "3"], "--last-seeds is for halving"),
        (["--method", "sid,dmd"], "2 methods are given, expected one"),
        (["--by", "halving", "--effort", "flops=1T"], "an effort of flops=1T is too small"),
        (["--by", "halving", "--search", "lrr=1e-3,1e-2"], "setting of method 'sid': 'lrr'"),
        (["--by", "halving", "--eval", "none"], "judged by their first metric"),
    ],
)
def test_what_cannot_be_is_one_sentence(bench, words, sentence):
    status, _, err = bench("sweep", "--teacher", "edm-digits", "--method", "sid", *words)
    assert status == 2
    assert sentence in err


def test_a_seed_that_chooses_and_stands_in_tables_is_told(tmp_path):
    made = record("sid", 1000)
    made.run_id = "sid-edm-digits-s1000-0"
    made.request = {"method": "sid", "teacher": "edm-digits", "seed": 1000}
    folder = RunFolder(tmp_path / made.run_id)
    folder.path.mkdir()
    (folder.path / "record.json").write_text(made.model_dump_json())
    asked = {"method": "sid", "teacher": "edm-digits"}
    (told,) = shared_seeds([make_request(seed=1000, trial=True, **asked)], tmp_path)
    assert told.startswith("seed 1000 of sid on edm-digits is that of runs for tables too")
    assert not shared_seeds([make_request(seed=1000, **asked)], tmp_path)
    assert not shared_seeds([make_request(seed=1001, trial=True, **asked)], tmp_path)
