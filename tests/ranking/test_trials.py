"""The trials of a sweep: their order, the expected best of some, and the winner's card."""

from __future__ import annotations

import itertools
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.ranking.trials import Sweep, Trial
from bench.runs.card import Card
from tests.helpers.records import record


def sweep(*values: float | None, settings: dict[str, object] | None = None) -> Sweep:
    """Trials that ended with these FIDs; None is one that failed."""
    trials = [
        Trial(
            {"lr": k / 10}, None if fid is None else record("sid", k, fid), "" if fid else "it diverged"
        )
        for k, fid in enumerate(values, 1)
    ]
    return Sweep("sid", "edm-digits", 1000, "random", trials, settings or {})


@given(st.lists(st.floats(0.1, 300), min_size=1, max_size=6))
def test_the_expected_best_is_the_mean_over_every_choice_of_so_many_trials(values):
    found = sweep(*values).expected_best()
    for k in range(1, len(values) + 1):
        every = fmean(min(some) for some in itertools.combinations(values, k))
        assert found[k - 1] == pytest.approx(every, rel=1e-9)


def test_a_failed_trial_is_last_and_counts_as_the_worst_that_finished():
    done = sweep(3.0, None, 1.0)
    assert [done.value(trial) for trial in done.ranked] == [1.0, 3.0, None]
    assert done.expected_best() == pytest.approx([(1 + 3 + 3) / 3, (1 + 1 + 3) / 3, 1.0])
    assert "1 failed" in done.effort
    with pytest.raises(BenchError, match="no trial of 2 ended with a number: it diverged"):
        _ = sweep(None, None).best


def test_the_card_has_the_winner_the_effort_and_what_it_had_before():
    base = Card.model_validate(
        {
            "citation": "zhou2024score",
            "defaults": {"lr": {"value": 1e-5, "source": "paper"}},
            "teachers": {"edm-digits": {"batch": {"value": 64, "source": "chosen here"}}},
        }
    )
    card = sweep(3.0, 1.0).card(base)
    values = card.defaults | card.teachers["edm-digits"]
    assert (values["lr"].value, values["batch"].value) == (0.2, 64)
    assert values["lr"].source == (
        "tuned here: best of 2 trials (random) by FID (digits-5k), seed 1000, budget flops=2k"
    )
    assert card.tuning["edm-digits"].runs == 2
    assert card.defaults["lr"].value == 1e-5
    assert card.citation == "zhou2024score"


def test_the_card_has_the_settings_of_all_trials_and_the_effort_of_before():
    base = Card.model_validate(
        {"tuning": {"edm-digits": {"runs": 6, "note": "six settings at random"}}, "citation": "a"}
    )
    card = sweep(3.0, 1.0, settings={"batch": 64}).card(base)
    values = card.teachers["edm-digits"]
    assert (values["lr"].value, values["batch"].value) == (0.2, 64)
    assert values["batch"].source.endswith("budget flops=2k, all with batch=64")
    tuning = card.tuning["edm-digits"]
    assert tuning.runs == 8
    assert tuning.note.startswith("six settings at random; best of 2 trials (random)")
