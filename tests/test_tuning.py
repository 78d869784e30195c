"""``bench sweep`` as a person uses it."""

from __future__ import annotations

import json
import math
from statistics import fmean

import pytest

import bench
from bench import tuning
from bench.ranking.trials import Sweep, Trial
from bench.runs.card import read_card
from bench.runs.grid import GridRun
from bench.runs.search import Range
from tests.helpers.plugins import METHOD, SETTINGS, plugin, set_flags
from tests.helpers.records import record

SMALL = ["--budget", "updates=2", "--eval", "fid", "--eval-samples", "60", "--eval-repeats", "1"]


@pytest.fixture
def constant(tmp_path):
    """A method that regresses its generator to zero, and the words that ask for a sweep of it."""
    file = plugin(tmp_path, METHOD.format(name="constant"), "constant.py")
    settings = {name: value for name, value in SETTINGS.items() if name != "lr"}
    given = ["--method", "constant", "--teacher", "gaussian", "--plugin", str(file)]
    return file, [*given, *set_flags(settings), *SMALL]


def test_a_sweep_tries_reuses_and_writes_the_card_that_the_next_run_takes(bench, constant, tmp_path):
    file, words = constant
    card = file.with_suffix(".yaml")
    words = [*words, "--search", "lr=1e-3,1e-2", "--by", "grid", "--format", "json"]
    first = json.loads(bench.ok("sweep", *words, "--card", str(card)).out)
    assert sorted(trial["settings"]["lr"] for trial in first["trials"]) == [1e-3, 1e-2]
    values = [trial["value"] for trial in first["trials"]]
    assert values == sorted(values)
    assert first["expected_best"] == pytest.approx([sum(values) / 2, min(values)])
    assert "best of 2 trials (grid)" in first["effort"]

    begun = {run["run"]: run["started"] for run in bench.json("list", "runs")}
    again = bench.ok("sweep", *words)
    assert json.loads(again.out)["trials"] == first["trials"]
    assert {
        run["run"]: run["started"] for run in bench.json("list", "runs")
    } == begun  # none was repeated

    won = first["trials"][0]
    assert read_card(card).teachers["gaussian"]["lr"].value == won["settings"]["lr"]
    shown = bench.ok("show", "method", "constant", "--teacher", "gaussian", "--plugin", str(file)).out
    assert "tuned here: best of 2 trials (grid)" in shown


def test_optuna_learns_from_the_trials_before(constant, tmp_path):
    pytest.importorskip("optuna")
    file, _ = constant
    done = bench.sweep(
        "constant",
        "gaussian",
        search={"lr": (1e-4, 1e-2)},
        settings={name: value for name, value in SETTINGS.items() if name != "lr"},
        trials=3,
        by="optuna",
        processes=2,
        results=tmp_path / "runs",
        plugins=[str(file)],
        budget="updates=2",
        eval=["fid"],
        eval_samples=60,
        eval_repeats=1,
    )
    assert len({trial.settings["lr"] for trial in done.trials}) == 3
    assert {trial.record.seed for trial in done.trials} == {1000}
    assert all(1e-4 <= trial.settings["lr"] <= 1e-2 for trial in done.trials)
    assert done.value(done.best) == min(done.value(trial) for trial in done.trials)


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_optuna_draws_nearer_to_the_best_as_it_learns(direction):
    pytest.importorskip("optuna")

    def distance(trial):
        return abs(math.log10(trial.settings["lr"] / 1e-3))

    def try_all(choices):
        trials = [Trial(settings, record("sid", 1000)) for settings in choices]
        for trial in trials:
            far = distance(trial)
            trial.record.final = {"fid": far if direction == "lower" else 10 - far}
            trial.record.protocols["digits-5k"].directions["fid"] = direction
        return trials

    space = {"lr": Range(low=1e-6, high=1e-0)}
    tried = tuning._learn(space, 40, 1, 1000, try_all)
    far = [distance(trial) for trial in tried]
    assert fmean(far[-15:]) < fmean(far[:10]) / 2


def test_optuna_is_asked_again_where_it_suggests_what_was_tried():
    pytest.importorskip("optuna")
    asked = []

    def try_all(choices):
        asked.extend(choices)
        return [Trial(settings, record("sid", 1000, settings["lr"])) for settings in choices]

    tried = tuning._learn({"lr": Range(values=[1.0, 2.0, 3.0])}, 5, 2, 1000, try_all)
    assert sorted(trial.settings["lr"] for trial in tried) == [1.0, 2.0, 3.0]
    assert len(asked) == 3


def test_a_path_and_a_tuple_among_the_settings_are_found_as_requests_have_them(tmp_path, monkeypatch):
    asked = []

    def carry_out(suite, *_, **__):
        asked.extend(suite.requests())
        return [GridRun(request, "done", record("sid", 1000, 1.0)) for request in suite.requests()]

    monkeypatch.setattr(tuning, "carry_out_suite", carry_out)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start.safetensors").write_bytes(b"")
    start = {"start": "start.safetensors"}
    search = {"betas": [(0.0, 0.99), (0.0, 0.999)]}
    done = bench.sweep("sid", "edm-digits", settings=start, search=search, trials=4, results=tmp_path)
    assert len(done.trials) == 2  # all that there are
    assert asked[0].settings["start"] == str(tmp_path / "start.safetensors")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--search", "lr=1e-3..1e-2", "--by", "grid"], "a grid needs the values of lr"),
        (["--search", "lr=1e-3", "--by", "luck"], "luck"),
        (["--search", "lrr=1e-3"], "lrr"),
        ([], "names no setting"),
        (["--search", "lr=1e-3", "--print-sbatch"], "No such option"),
        (["--search", "lr=1e-3", "--search", "lr=1e-2"], "--search gives lr 2 ranges"),
        (["--search", "batch=8,16"], "batch is a setting of all trials and searched for too"),
        (["--search", "lr=1e-3", "--eval", "none"], "judged by their first metric"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_sentence(bench, constant, words, sentence):
    status, out, err = bench("sweep", *constant[1], *words)
    assert status == 2
    assert sentence in err
    assert out == ""


def test_a_card_that_cannot_be_read_is_refused_before_the_trials_and_comments_are_told(
    bench, constant, tmp_path, monkeypatch
):
    done = [Trial({"lr": 1e-3}, record("constant", 1000))]
    monkeypatch.setattr(tuning, "sweep", lambda *_, **__: Sweep("constant", "gaussian", 1, "grid", done))
    card = tmp_path / "card.yaml"
    words = ["sweep", *constant[1], "--search", "lr=1e-3", "--card", card]
    card.write_text("# mine\ndefaults: 3\n")
    code, _, err = bench(*words)
    assert code == 1
    assert "card.yaml is not valid" in err
    card.write_text("# mine\ncitation: somebody\n")
    assert "card.yaml will be written anew, without its comments" in bench.ok(*words).err
    assert read_card(card).citation == "somebody"
