"""Trackers of experiments: what they are shown, and that none of them stops a run."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

import bench as suite_api
from bench.errors import UsageError
from bench.runs.events import Note
from bench.runs.folder import RunFolder
from bench.training import track

SMALL = {
    "budget": "updates=120",
    "settings": {"batch": 16},
    "eval": ["fid", "is"],
    "eval_samples": 60,
    "eval_repeats": 1,
    "eval_points": 2,
    "device": "cpu",
}


def small_run(results, **options):
    return suite_api.run("sid", "edm-digits", results=results, **SMALL, **options)


@pytest.mark.slow
def test_tensorboard_has_the_curve_the_numbers_the_samples_and_the_recipe(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = small_run(tmp_path, track="tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard" / record.run_id))
    events.Reload()
    lines = (tmp_path / record.run_id / "metrics.jsonl").read_text().splitlines()
    curve = [json.loads(line) for line in lines]
    found = [(event.step, event.value) for event in events.Scalars("loss/fake")]
    assert found == [(line["updates"], pytest.approx(line["loss/fake"])) for line in curve]
    for name in ("fid", "is"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(e.updates, pytest.approx(e.metrics[name].value)) for e in record.evaluations]
    assert len(events.Images("samples")) == len(record.evaluations) == 2
    recipe = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "method: sid" in recipe
    assert RunFolder(tmp_path / record.run_id).changed_files() == []
    assert small_run(tmp_path).run_id == record.run_id  # no part of the recipe


@pytest.mark.slow
def test_wandb_has_them_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    record = small_run(tmp_path / "runs", track="wandb")
    (file,) = (tmp_path / "runs" / "wandb").glob(f"offline-run-*/run-{record.run_id}.wandb")
    content = file.read_bytes()
    for word in (b"loss/fake", b"fid", b"teacher_digest"):
        assert word in content
    assert len(list(file.parent.glob("files/media/images/samples_*.png"))) == 2


class Recording:
    """Stands in for the package wandb."""

    def __init__(self, fails_at: str = "") -> None:
        self.calls, self.fails_at = [], fails_at

    def __getattr__(self, name):
        def call(*args, **options):
            self.calls.append((name, args, options))
            if name == self.fails_at:
                raise ConnectionError("the network is gone")
            return self

        return call


def test_wandb_is_told_of_one_run_under_its_id(tmp_path, monkeypatch):
    wandb = Recording()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    record = small_run(tmp_path, track="wandb")
    names = [name for name, _, _ in wandb.calls]
    begun = next(options for name, _, options in wandb.calls if name == "init")
    assert begun["id"] == record.run_id
    assert begun["config"]["budget"] == "updates=120"
    logged = [args[0] for name, args, _ in wandb.calls if name == "log"]
    assert any("fid" in values and values["updates"] == 120 for values in logged)
    assert any("loss/fake" in values and values["updates"] == 50 for values in logged)
    assert names[-1] == "finish"


@pytest.mark.parametrize("where", ["init", "log", "Image", "finish"])
def test_a_tracker_that_fails_is_one_note_and_stops_nothing(tmp_path, monkeypatch, where):
    wandb, seen = Recording(where), []
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with track.tracked("wandb", tmp_path, seen.append) as observe:
        record = SimpleNamespace(
            run_id="a", method="sid", teacher="t", recipe=SimpleNamespace(as_given=dict)
        )
        observe(track.Started(record, True, None))
        for updates in (50, 100):
            observe(track.Logged({"loss/fake": 1.0}, updates))
        evaluation = SimpleNamespace(metrics={}, updates=100)
        observe(track.Evaluated(evaluation, evaluation, tmp_path / "0.png"))
    notes = [event.text for event in seen if isinstance(event, Note)]
    assert notes == ["wandb tracks no more (the network is gone); the run goes on."]
    assert [name for name, _, _ in wandb.calls].count(where) == 1
    assert len(seen) == 5


def test_a_tracker_that_is_not_installed_is_one_sentence(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"pip install 'distill-bench\[wandb\]'"):
        small_run(tmp_path, track="wandb")
    assert not list(tmp_path.iterdir())
    code, _, err = bench("run", "--method", "sid", "--teacher", "edm-digits", "--track", "paper")
    assert code == 2
    assert "track: input should be 'tensorboard' or 'wandb', given 'paper'" in err
