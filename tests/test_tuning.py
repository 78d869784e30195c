"""``bench sweep`` as a person uses it."""

from __future__ import annotations

import json

import pytest

import bench
from bench.runs.card import read_card
from tests.helpers.plugins import METHOD, SETTINGS, plugin, set_flags

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

    again = bench.ok("sweep", *words)
    assert json.loads(again.out)["trials"] == first["trials"]
    assert "reused" in again.err

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
    assert all(1e-4 <= trial.settings["lr"] <= 1e-2 for trial in done.trials)
    assert done.value(done.best) == min(done.value(trial) for trial in done.trials)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--search", "lr=1e-3..1e-2", "--by", "grid"], "a grid needs the values of lr"),
        (["--search", "lr=1e-3", "--by", "luck"], "luck"),
        (["--search", "lrr=1e-3"], "lrr"),
        ([], "names no setting"),
        (["--search", "lr=1e-3", "--print-sbatch"], "a sweep waits for its trials"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_sentence(bench, constant, words, sentence):
    status, out, err = bench("sweep", *constant[1], *words)
    assert status == 2
    assert sentence in err
    assert out == ""
