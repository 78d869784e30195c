"""A record as a model: what other versions have written is read, kept, and written as it was."""

from __future__ import annotations

import json

import pytest

from bench.errors import BenchError, UsageError
from bench.runs.budget import Ledger, UpdateCost
from bench.runs.folder import RunFolder
from bench.runs.recipe import read_recorded
from bench.runs.record import BestCheckpoint, Record
from tests.helpers.records import record, write

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


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            '"flops":2000',
            '"flops":' + "9" * 400,
            "number 9+... of 400 digits, expected at most 1.8e.308",
        ),
        ('"value":2.0', '"value":1e999', "the number 1e999, expected at most"),
        ('"value":2.0', '"value":NaN', "the number NaN, expected"),
        ('"fid":2.0', '"fid":-Infinity', "the number -Infinity, expected"),
        ('"settings":{', '"settings":{"alpha":1' + "0" * 309, "of 310 digits, expected"),
        ('"flops":2000', '"flops":-1', "greater than or equal to 0, given -1"),
        ('"images":100', '"images":true', "valid integer, given True"),
        ('"seconds":3.0', '"seconds":"3"', "valid number, given '3'"),
        ('"fid":2.0', '"fid":false', "final.fid: input should be a valid number, given False"),
        ('"seed":0', '"seed":-1', "seed: input should be greater"),
    ],
)
def test_a_number_that_cannot_be_is_damage_and_ends_no_table(tmp_path, bench, old, new, why):
    write([record(), record(seed=1)], tmp_path)
    file = tmp_path / "00000" / "record.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(BenchError, match=rf"record\.json is damaged \(.*{why}.*\); repeat the run"):
        RunFolder(file.parent).read_record()
    for command in (["table"], ["list", "runs"], ["plot", "-o", tmp_path / "a.svg"]):
        code, _, err = bench(*command, "--results", tmp_path)
        assert code == 0 and "is damaged" in err and "Error" not in err


def test_digits_in_a_text_are_no_number(tmp_path):
    write([record().model_copy(update={"error": "1" * 400 + " 1e999 NaN"})], tmp_path)
    assert RunFolder(tmp_path / "00000").read_record() is not None


def test_a_record_without_a_point_of_its_own_nfe_has_no_curve_and_is_shown(tmp_path, bench):
    odd = record()
    odd.evaluations[-1].nfe = 7
    write([odd, record(seed=1), record("teacher", fid=1.5)], tmp_path)
    assert "sid" in bench.ok("table", "--columns", "all", "--results", tmp_path).out
