"""What a halving has found: a mean over seeds decides, a failure counts as the worst."""

from __future__ import annotations

import math

import pytest

from bench.errors import BenchError
from bench.ranking.halving import Halving, Round, Standing
from bench.ranking.leaderboard import leaderboard
from bench.ranking.searches import tuning_curves
from bench.ranking.trials import Trial, expected_best
from bench.render.figures.paper import paper_style
from bench.render.figures.tuning import draw_tuning
from bench.render.tables.bibtex import cited
from bench.render.tables.table import Table
from bench.runs.budget import Budget
from bench.runs.card import Card
from bench.runs.halving import Shape
from bench.runs.record import Record, RecordedTuning
from tests.helpers.records import record


def standing(number: int, *values: float | None) -> Standing:
    settings = {"lr": number / 10}
    return Standing(
        number,
        [
            Trial(settings, None, "it diverged")
            if value is None
            else Trial(settings, record("sid", 1000 + k, value, settings=settings), "")
            for k, value in enumerate(values)
        ],
    )


def halving(*rounds: list[Standing]) -> Halving:
    rungs = Shape(rungs=len(rounds)).laid_out(len(rounds[0]), Budget("flops", 2e12))
    found = [Round(rung, standings) for rung, standings in zip(rungs, rounds, strict=True)]
    return Halving("sid", "edm-digits", Budget("flops", 12e12), found)


def test_the_mean_over_seeds_decides_so_that_a_lucky_seed_does_not_win():
    done = halving(
        [standing(0, 3.0), standing(1, 2.0), standing(2, 4.0)],
        [standing(0, 2.0, 2.2), standing(1, 1.0, 9.0)],
    )
    assert done.best.number == 0
    assert done.best.value == pytest.approx(2.1)
    assert done.last_line.startswith("The present recipe wins with FID 2.1")


def test_one_failed_seed_counts_as_the_worst_and_is_said():
    done = halving(
        [standing(0, 3.0), standing(1, 2.0), standing(2, None)],
        [standing(0, 1.0, None), standing(1, 5.0, 5.0)],
    )
    assert done.best.number == 1
    assert "over the present recipe, which failed" in done.last_line
    assert "7 runs, of which 2 failed" in done.summary
    assert [s.number for s in done.ranked(done.rounds[0])] == [1, 0, 2]
    assert done.expected_best() == pytest.approx([(2 + 3 + 3) / 3, (2 + 2 + 3) / 3, 2.0])
    nan = [standing(0, math.nan), standing(1, 7.0)]
    assert halving(nan).best.number == 1
    with pytest.raises(BenchError, match="no trial of 2 of sid ended with a number: it diverged"):
        _ = halving([standing(0, None), standing(1, None)]).best


def test_the_card_has_the_winner_and_the_runs_and_operations_behind_it():
    base = Card.model_validate(
        {"tuning": {"edm-digits": {"runs": 6, "flops": 12e12, "note": "six at random"}}}
    )
    done = halving(
        [standing(0, 3.0), standing(1, 2.0), standing(2, 4.0)],
        [standing(0, 2.0, 2.0), standing(1, 1.0, 1.0)],
    )
    card = done.card(base)
    assert card.teachers["edm-digits"]["lr"].value == 0.1
    tuning = card.tuning["edm-digits"]
    assert tuning.runs == 6 + 7
    assert tuning.flops == 12e12 + done.spent("flops")
    assert tuning.note.startswith("six at random; best of 3 settings by successive halving (3 at")
    assert done.card(card).tuning == card.tuning  # the same search, asked for again


def test_the_curves_of_more_trials_are_those_of_the_rung_with_the_most_settings():
    def tried(method: str, seed: int, flops: int, *values: float | None) -> list[Record]:
        made = [
            record(method, seed, value or 1.0, settings={"lr": k}, flops=flops)
            for k, value in enumerate(values)
        ]
        for run, value in zip(made, values, strict=True):
            run.status = "done" if value is not None else "failed"
        return made

    records = [
        *tried("sid", 1000, 200, 5.0, 3.0, None, 9.0),
        *tried("sid", 1001, 600, 2.0, 1.0),
        *tried("dmd", 1000, 200, 4.0, 2.0),
        *tried("dmd", 1001, 600, 1.0, 0.5),
        *tried("kd", 1000, 200, None),
    ]
    dmd, sid = tuning_curves(records, "fid")
    assert (dmd.method, dmd.budget, dmd.expected) == ("dmd", "flops=200", (3.0, 2.0))
    assert (sid.method, sid.budget, sid.failed) == ("sid", "flops=200", 1)
    assert sid.expected == pytest.approx(expected_best([5.0, 3.0, 9.0, 9.0], "lower"))
    with paper_style():
        drawing = draw_tuning([dmd, sid], "page")
        lines = drawing.figure.axes[0].get_lines()
        assert [tuple(line.get_ydata()) for line in lines] == [dmd.expected, sid.expected]
        assert "dmd on edm-digits, FID at flops=200: 3.00 of 1, 2.00 of 2" in drawing.caption
        assert "of 4 settings, 1 failed." in drawing.caption


def test_a_table_states_the_effort_in_runs_and_operations():
    made = record("sid", 0, 2.0)
    made.tuning = RecordedTuning(runs=22, flops=24e12)
    board = leaderboard([made, record("dmd", 0, 3.0)])
    assert (board.rows[0].tuning, board.rows[0].tuning_flops) == (22, 24e12)
    assert "22 runs, 24T" in Table(cited(board), ["method", "tuning"]).text("md")
