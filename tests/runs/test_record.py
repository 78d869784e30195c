"""A record as a model: what other versions have written is read, kept, and written as it was."""

from __future__ import annotations

import json

import pytest

from bench.errors import BenchError, UsageError
from bench.runs.budget import Ledger, UpdateCost
from bench.runs.folder import RunFolder
from bench.runs.recipe import read_recorded
from bench.runs.record import BestCheckpoint, Record
from tests.helpers.records import record

PARTS = {
    "recipe": {
        "method": "sid",
        "settings": {"alpha": 1.0},
        "evaluation": {"samples": 3, "later": 1},
        "later": [2],
    },
    "protocols": {"digits-5k": {"samples": 3, "parameters": {"is": {"splits": 10}}, "later": {"a": 3}}},
    "best": {"fid": 1.5, "is": 5.0, "images": 64, "selection": "the last of 3 evaluations"},
    "tuning": {"runs": 6, "later": "x"},
    "environment": {"torch": "2.15.0", "commit": None, "later": True},
    "checkpoint": {"path": "checkpoints/generator.safetensors", "later": 1},
}


def test_the_parts_of_a_record_are_written_as_they_were_read():
    content = record().model_dump(mode="json") | PARTS | {"later": {"more": 1}}
    read = Record.model_validate_json(json.dumps(content))
    written = json.loads(read.model_dump_json())
    for name, part in PARTS.items():
        assert json.dumps(written[name]) == json.dumps(part)  # in the same order
    assert written["later"] == {"more": 1}
    assert read.best.metrics == {"fid": 1.5, "is": 5.0}


def test_a_ledger_is_the_cost_of_a_record_whole_and_extended_by_later_versions():
    ledger = Ledger()
    ledger.charge(UpdateCost(12, {"teacher": (4, 2)}))
    ledger.charge(UpdateCost(12, {"teacher": (4, 2)}))
    ledger.charge_one_off(100, 2.5)
    made = record()
    made.cost = ledger
    assert json.loads(made.model_dump_json())["cost"] == {
        "images": 0,
        "updates": 0,
        "flops": 124,
        "seconds": 2.5,
        "evaluations": {"teacher": {"forward": 8, "backward": 4}},
        "one_off": {"flops": 100, "seconds": 2.5},
        "peak_memory_bytes": 0,
    }
    assert Ledger.model_validate(ledger.model_dump() | {"joules": 3}).model_dump()["joules"] == 3


@pytest.mark.parametrize(
    ("requires", "data_free"),
    [([], True), (["StartingGenerator"], True), (["TeacherPairs"], False), (["RealImages"], False)],
)
def test_a_record_that_does_not_say_whether_it_is_data_free_says_so_by_its_requirements(
    requires, data_free
):
    assert record(requires=requires).data_free is data_free


def test_what_a_record_says_of_being_data_free_counts():
    content = record(requires=["RealImages"]).model_dump(mode="json") | {"data_free": True}
    assert Record.model_validate(content).data_free is True


def test_a_recipe_that_is_not_whole_is_shown_but_not_carried_out():
    with pytest.raises(
        UsageError, match="the run x carries a recipe that does not hold: method_digest: field required"
    ):
        read_recorded(record().recipe, "the run x")


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("cost", {"images": "many"}),
        ("recipe", {"settings": 3}),
        ("best", {"fid": "x"}),
        ("protocols", {"p": 1}),
    ],
)
def test_a_part_that_does_not_hold_is_named(tmp_path, part, content):
    (tmp_path / "record.json").write_text(json.dumps(record().model_dump(mode="json") | {part: content}))
    with pytest.raises(
        BenchError, match=rf"record\.json is damaged \({part}\.\w+.*: input should be .*\); repeat"
    ):
        RunFolder(tmp_path).read_record()


def test_the_best_checkpoint_of_a_run_is_written_with_its_metrics_first():
    best = BestCheckpoint(images=3, selection="the last of 1 evaluations", fid=2.0)
    assert list(best.as_given()) == ["fid", "images", "selection"]
