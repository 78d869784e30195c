"""What sets a row of a table apart from the others of its method."""

import pytest

from bench.ranking.leaderboard import leaderboard
from bench.ranking.variants import group_of, variants
from bench.runs.record import Record
from tests.helpers.records import record

EDITS = {
    "method_digest": ("a1b2c3d4e5", "code=a1b2c3"),
    "teacher_digest": ("a1b2c3d4e5", "weights=a1b2c3"),
    "teacher_code": ("a1b2c3d4e5", "teacher-code=a1b2c3"),
    "plugin_code": ("a1b2c3d4e5", "plugins=a1b2c3"),
    "supplies": ({"real": "a1b2c3d4e5"}, "real=a1b2c3"),
    "settings": ({"lr": 0.5}, "lr=0.5"),
}
"""What may be edited between two runs that were asked for in the same words, and how a table says it."""


def edited(field: str, value: object) -> Record:
    run = record(seed=1)
    return run.model_copy(
        update={"recipe": run.recipe.model_copy(update={field: value}), "run_id": "later"}
    )


@pytest.mark.parametrize("field", EDITS)
def test_a_superseded_run_and_its_successor_are_told_apart(field):
    value, words = EDITS[field]
    before, after = record(), edited(field, value)
    groups = {group_of(run): [run] for run in (before, after)}
    assert len(groups) == 2
    assert words in variants(groups)[group_of(after)]
    rows = leaderboard([before, after]).rows
    assert len(rows) == 2 and len({row.variant for row in rows}) == 2


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_of_equal_means_each_is_the_best_and_none_the_second(direction):
    methods = ("a", "b", "c", "d")
    runs = [record(m, fid=value) for m, value in zip(methods, (2.0, 2.0, 3.0, 3.0), strict=True)]
    for run in runs:
        for protocol in run.protocols.values():
            protocol.directions["fid"] = direction
    numbers = {row.method: next(iter(row.numbers.values())) for row in leaderboard(runs).rows}
    best = {"a", "b"} if direction == "lower" else {"c", "d"}
    assert {m for m, n in numbers.items() if n.best} == best
    assert not any(n.second for n in numbers.values())


def test_of_equal_seconds_each_is_the_second():
    runs = [record(m, fid=value) for m, value in (("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.0))]
    numbers = {row.method: next(iter(row.numbers.values())) for row in leaderboard(runs).rows}
    assert [m for m, n in numbers.items() if n.best] == ["a"]
    assert sorted(m for m, n in numbers.items() if n.second) == ["b", "c"]
