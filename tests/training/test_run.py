"""Whole runs: the folder they leave, reuse, interruption, resume, failure, and the lock."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import bench as suite
import evals.protocols
from bench import registry
from bench.api import carry_out
from bench.errors import BenchError, Interrupted, UsageError
from bench.files.tensors import load_tensors, save_tensors
from bench.runs.events import Evaluated, Finished, Note
from bench.runs.folder import RunFolder
from bench.runs.options import EvaluationOptions
from bench.runs.recipe import SettledEvaluation, make_request, read_recipe
from bench.runs.record import Record
from bench.runs.store import find_run, results_folder
from bench.training import checkpoint, loop
from bench.training import run as runner
from bench.training.job import make_job
from bench.training.trainer import Trainer
from evals.protocols import DIGITS_5K
from methods.sid import SiD
from tests.helpers import held_method
from tests.helpers.plugins import METHOD, SETTINGS, plugin, set_flags
from tests.helpers.trainers import make_trainer
from tests.helpers.waiting import Clock, wait_until

SMALL = {"budget": "images=2k", "eval_samples": 100, "eval_repeats": 2, "eval_points": 4}
REQUEST = {"method": "sid", "teacher": "edm-digits", "settings": {"batch": 64}, **SMALL}

TO_ZERO = SETTINGS | {"batch": 8}


def weights(results: Path, run_id: str) -> dict[str, torch.Tensor]:
    return load_tensors(RunFolder(results / run_id).weights)[0]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


def curve(record: Record) -> list[tuple]:
    """A record's evaluations but for the clock."""
    return [
        (e.images, e.flops, {k: (m.value, m.std) for k, m in e.metrics.items()})
        for e in record.evaluations
    ]


@pytest.fixture
def results(tmp_path, tmp_path_factory):
    """A results folder with the run of REQUEST, which is made once and then copied."""
    made = tmp_path_factory.getbasetemp() / "the-run-of-test-runs"
    if not made.exists():
        suite.run(**REQUEST, results=made)
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture
def first(results):
    """The record of that run."""
    return suite.run(**REQUEST, results=results)


def test_a_run_folder_is_complete_in_itself(results, first):
    record, folder = first, results / first.run_id
    assert record.run_id.startswith("sid-edm-digits-s0-")
    written = json.loads((folder / "record.json").read_text())
    assert written["schema"] == 1
    assert written["status"] == "done"
    assert written["cost"]["images"] == 2048 == 32 * 64
    assert written["cost"]["updates"] == 32
    assert written["cost"]["evaluations"]["generator"] == {"forward": 2 * 2048, "backward": 2048}
    assert written["cost"]["flops"] > 0 < written["cost"]["seconds"]
    assert written["cost"]["peak_memory_bytes"] > 1e7
    assert written["cost"]["one_off"] == {"flops": 0, "seconds": 0}
    assert [e["images"] for e in written["evaluations"]] == [0, 64, 256, 2048]
    last = written["evaluations"][-1]
    assert last["metrics"]["fid"]["protocol"] == "digits-100"
    assert last["metrics"]["fid"]["std"] > 0
    assert written["evaluations"][0]["metrics"]["fid"]["std"] is None
    assert written["final"] == {name: m["value"] for name, m in last["metrics"].items()}
    watched = {e["images"]: e["watched"] for e in written["evaluations"]}
    assert watched[written["best"]["images"]] == min(watched.values())
    assert written["protocols"]["digits-100"]["directions"] == {"fid": "lower", "is": "higher"}
    file = folder / written["checkpoint"]["path"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == written["checkpoint"]["sha256"]
    assert Image.open(folder / "samples" / "000000002048.png").size[0] > 300
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["settings"]["alpha"] == 1.0
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pt", ".pth")]


def test_the_same_request_is_answered_from_the_finished_run_and_fresh_repeats_it_to_the_bit(
    results, first
):
    before = weights(results, first.run_id)
    assert suite.run(**REQUEST, results=results) == first
    again = suite.run(**REQUEST, results=results, fresh=True)
    assert again.run_id == first.run_id
    assert equal(before, weights(results, first.run_id))
    assert curve(again) == curve(first)


def test_the_recipe_file_repeats_the_run_and_a_seed_does_not(results, first):
    fields = read_recipe(results / first.run_id / "recipe.yaml")
    assert make_job(make_request(**fields)).recipe.run_id == first.run_id
    other = suite.run(**REQUEST, seed=1, results=results)
    assert other.run_id != first.run_id
    assert not equal(weights(results, first.run_id), weights(results, other.run_id))


def test_an_edited_method_is_another_run_with_the_new_code(tmp_path):
    """In the same process too, where the old code has been imported."""
    file = plugin(tmp_path, METHOD.format(name="to-zero"))
    request = {
        "settings": TO_ZERO,
        "budget": "updates=2",
        "eval": [],
        "plugins": [str(file)],
        "results": tmp_path / "runs",
    }
    first = suite.run("to-zero", "edm-digits", **request)
    assert suite.run("to-zero", "edm-digits", **request) == first
    file.write_text(
        file.read_text().replace(
            "self.generate(batch.z).square()", "(self.generate(batch.z) - 1).square()"
        )
    )
    second = suite.run("to-zero", "edm-digits", **request)
    assert second.run_id != first.run_id
    assert not equal(weights(tmp_path / "runs", first.run_id), weights(tmp_path / "runs", second.run_id))


def test_a_changed_reference_is_another_run(tmp_path, monkeypatch, first):
    other = tmp_path / "reference.safetensors"
    tensors, meta = load_tensors(DIGITS_5K.references["digits"][0])
    save_tensors(other, {name: t * 1.1 if "sigma" in name else t for name, t in tensors.items()}, meta)
    monkeypatch.setattr(
        evals.protocols, "DIGITS_5K", dataclasses.replace(DIGITS_5K, references={"digits": (other,)})
    )
    request = make_request(**REQUEST)
    assert make_job(request).recipe.run_id != first.run_id


def test_training_does_not_depend_on_how_it_is_measured(results, first):
    unmeasured = suite.run(**REQUEST | {"eval": []}, results=results)
    assert first.run_id != unmeasured.run_id
    assert equal(weights(results, first.run_id), weights(results, unmeasured.run_id))


def test_the_same_words_in_another_folder_mean_another_file(tmp_path, monkeypatch):
    ids = []
    for folder, target in (("a", "0"), ("b", "1")):
        (tmp_path / folder).mkdir()
        text = METHOD.format(name="to-zero").replace(
            "self.generate(batch.z).square()", f"(self.generate(batch.z) - {target}).square()"
        )
        plugin(tmp_path / folder, text)
        monkeypatch.chdir(tmp_path / folder)
        request = {
            "settings": TO_ZERO,
            "budget": "updates=2",
            "eval": [],
            "plugins": ["plugin.py"],
            "results": tmp_path / "runs",
        }
        registry._from_files.clear()
        registry._loaded_files.clear()
        ids.append(suite.run("to-zero", "edm-digits", **request).run_id)
    assert ids[0] != ids[1]


class Killed(BaseException):
    """The end of a process, as far as a test in the same process can have it: no
    ``except Exception`` hears of it.
    """


def kill_after(events, request, results, monkeypatch):
    """Carry out a run that tells and saves after every update, and kill it after so many events."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    count = itertools.count(1)

    def observe(event):
        if next(count) > events:
            raise Killed

    with pytest.raises(Killed):
        runner.execute(make_job(request), results, observe)


@pytest.mark.parametrize("method", ["sid", "dmd"])
def test_a_run_stopped_anywhere_continues_to_the_same_weights_and_numbers(tmp_path, monkeypatch, method):
    """Dropped right after a checkpoint, and again later, as if the process had been killed there."""
    settings = {"batch": 64} | ({"pairs": 200, "pair_steps": 3} if method == "dmd" else {})
    request = make_request(method=method, teacher="edm-digits", settings=settings, **SMALL)
    straight = carry_out(request, tmp_path / "straight")
    for stop_after in (5, 17):
        kill_after(stop_after, request, tmp_path / "stopped", monkeypatch)
    folder = RunFolder(tmp_path / "stopped" / straight.run_id)
    assert folder.read_record().status == "running"
    assert folder.states()
    continued = carry_out(request, tmp_path / "stopped")
    assert equal(
        weights(tmp_path / "straight", straight.run_id), weights(tmp_path / "stopped", straight.run_id)
    )
    assert curve(continued) == curve(straight)
    for cost in (
        "images",
        "updates",
        "flops",
        "evaluations",
        "one_off",
    ):  # the pairs' cost comes from their cache
        assert getattr(continued.cost, cost) == getattr(straight.cost, cost)


def test_a_log_with_a_half_written_line_is_mended_on_resume(tmp_path):
    folder = RunFolder(tmp_path)
    for updates in (50, 100, 150):
        folder.log({"updates": updates})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"updates": 2')
    folder.rewind_log(100)
    assert [
        json.loads(line)["updates"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ] == [50, 100]


def test_a_stop_during_an_evaluation_is_not_forgotten(tmp_path):
    """In a sampling-only run, such as the teacher's before the first student."""
    job = make_job(
        make_request(method="teacher", teacher="edm-digits", eval_samples=100, eval_repeats=1)
    )

    def stop_before_sampling(event):
        if isinstance(event, Note) and event.text.startswith("sampling"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="during an evaluation"):
        runner.execute(job, tmp_path, stop_before_sampling)
    assert RunFolder(tmp_path / job.recipe.run_id).read_record().status == "interrupted"
    assert carry_out(job.request, tmp_path).status == "done"


def test_a_diverged_run_fails_with_its_reason_in_the_record(tmp_path):
    text = METHOD.format(name="diverges").replace("self.generator(z, 1.0)", "self.generator(z, 1.0) / 0")
    request = SMALL | {"settings": TO_ZERO, "plugins": [str(plugin(tmp_path, text))]}
    with pytest.raises(BenchError, match="diverged"):
        suite.run("diverges", "edm-digits", **request, results=tmp_path / "runs")
    record = RunFolder(next((tmp_path / "runs").iterdir())).read_record()
    assert record.status == "failed"
    assert "diverged" in record.error


BAD_FROM_THIRD = METHOD.replace(
    "loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))",
    "loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))"
    " + ({bad} if batch.seen >= 16 else 0)",
)
"""A method of two updates at batch 8 whose losses are finite, and then no more."""


@pytest.mark.parametrize("bad", ["float('nan')", "float('inf')", "-float('inf')"])
@pytest.mark.parametrize("updates", [3, 60])
def test_a_loss_that_is_not_finite_fails_the_run_at_its_update(tmp_path, bad, updates):
    text = BAD_FROM_THIRD.replace("{name}", "bad").replace("{bad}", bad)
    request = {"settings": TO_ZERO, "plugins": [str(plugin(tmp_path, text))]}
    value = str(eval(bad))
    with pytest.raises(BenchError, match=f"the generator step is {value} at update 3; give smaller"):
        suite.run(
            "bad",
            "edm-digits",
            budget=f"updates={updates}",
            eval=[],
            results=tmp_path / "runs",
            **request,
        )
    folder = RunFolder(next((tmp_path / "runs").iterdir()))
    record = folder.read_record()
    assert record.status == "failed"
    assert "at update 3" in record.error
    assert not folder.weights.exists()


UNLUCKY = METHOD.replace(
    "loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))",
    "loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))"
    " + (float('nan') if batch.seen >= 320 and torch.initial_seed() < 2**33 else 0)",
)
"""A method whose losses are not finite from its 41st update on, unless it has other random numbers."""


def test_a_run_that_diverges_goes_back_and_on_with_other_random_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    request = {
        "settings": TO_ZERO,
        "plugins": [str(plugin(tmp_path, "import torch\n" + UNLUCKY.replace("{name}", "unlucky")))],
        "budget": "updates=60",
        "eval": ["fid"],
        "eval_samples": 100,
        "eval_points": 3,
    }
    with pytest.raises(BenchError, match="at update 41;"):
        suite.run("unlucky", "edm-digits", results=tmp_path / "stops", **request)
    weights_of = []
    for name in ("goes on", "again"):
        record = suite.run(
            "unlucky", "edm-digits", on_divergence="rollback", results=tmp_path / name, **request
        )
        assert record.status == "done"
        assert record.cost.updates == 60
        assert len(record.rollbacks) == 1
        assert "at update 41;" in record.rollbacks[0]
        assert "the last good checkpoint is that after 40 updates" in record.rollbacks[0]
        weights_of.append(weights(tmp_path / name, record.run_id))
        lines = (tmp_path / name / record.run_id / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["updates"] for line in lines] == [50]
    assert equal(*weights_of)
    assert record.run_id != next((tmp_path / "stops").iterdir()).name  # another recipe


def test_an_update_that_is_not_finite_can_be_left_out(tmp_path):
    """The run ends as if it had not been there, but for what it cost, and says that it was."""
    text = "import torch\n" + METHOD.replace(
        "loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))",
        "loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))"
        " * (float('nan') if batch.seen in (80, 240) else 1)",
    ).replace("{name}", "spikes")
    request = {"settings": TO_ZERO, "plugins": [str(plugin(tmp_path, text))], "budget": "updates=60"}
    measured = {"eval": ["fid"], "eval_samples": 100, "eval_points": 2}
    record = suite.run(
        "spikes", "edm-digits", on_divergence="skip", results=tmp_path / "skips", **request, **measured
    )
    assert (record.status, record.skipped, record.cost.updates) == ("done", 2, 60)
    line = (tmp_path / "skips" / record.run_id / "metrics.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["skipped/generator"] == 2
    in_parts = suite.run(
        "spikes",
        "edm-digits",
        on_divergence="skip",
        batch_gpu=4,
        results=tmp_path / "parts",
        **request,
        eval=[],
    )
    assert in_parts.skipped == 2
    whole = weights(tmp_path / "skips", record.run_id)
    for name, tensor in weights(tmp_path / "parts", in_parts.run_id).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-5)
    with pytest.raises(BenchError, match="loss of the generator step is nan"):
        suite.run("spikes", "edm-digits", results=tmp_path / "stops", **request, eval=[])


def test_an_update_that_is_left_out_moves_neither_weights_nor_optimizer():
    made = make_trainer("sid", batch=16)
    trainer = Trainer(made.method, made.teacher, made.budget, torch.device("cpu"), skip=True)
    trainer.iteration()
    before = {
        name: tensor.clone()
        for name, tensor in trainer.state()[0].items()
        if name.startswith(("network.", "optimizer."))
    }
    trainer.steps = [
        dataclasses.replace(step, loss=lambda batch, loss=step.loss: loss(batch) * float("nan"))
        for step in trainer.steps
    ]
    trainer.iteration()
    after = trainer.state()[0]
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    assert trainer.skipped == len(trainer.steps)


def test_updates_that_were_left_out_are_counted_over_all_stages():
    """Each stage begins with scales of its own; a training that is continued knows of those before."""
    made = make_trainer("pd", batch=16)

    def skipping() -> Trainer:
        return Trainer(
            made.method, made.teacher, made.budget, torch.device("cpu"), made.pairs, made.real, skip=True
        )

    trainer = skipping()
    for expected in (1, 2):
        bad = [
            dataclasses.replace(step, loss=lambda batch, loss=step.loss: loss(batch) * float("nan"))
            for step in trainer.steps
        ]
        trainer.steps = bad
        trainer.iteration()
        assert trainer.skipped == expected
        tensors, meta = trainer.state()
        trainer._begin_next_stage()
        assert trainer.skipped == expected
    again = skipping()
    again.restore(tensors, meta)
    assert again.skipped == 2


def test_leaving_out_changes_no_update_that_is_finite():
    usual, skipping = (make_trainer("sid", batch=16) for _ in range(2))
    skipping = Trainer(
        skipping.method, skipping.teacher, skipping.budget, torch.device("cpu"), skip=True
    )
    for trainer in (usual, skipping):
        torch.manual_seed(1)
        for _ in range(3):
            trainer.iteration()
    for name, tensor in usual.state()[0].items():
        assert torch.equal(tensor, skipping.state()[0][name]), name
    assert skipping.skipped == 0


@pytest.mark.parametrize("updates", [60, 45])
def test_a_run_that_leaves_out_too_many_updates_fails(tmp_path, updates):
    """At the next look, or at the end of a run that is too short for one."""
    text = BAD_FROM_THIRD.replace("{name}", "hopeless").replace("{bad}", "float('nan')")
    with pytest.raises(BenchError, match="more than 20 updates of the generator step"):
        suite.run(
            "hopeless",
            "edm-digits",
            budget=f"updates={updates}",
            eval=[],
            settings=TO_ZERO,
            plugins=[str(plugin(tmp_path, text))],
            on_divergence="skip",
            results=tmp_path / "runs",
        )


def test_a_run_that_always_diverges_fails_in_the_end(tmp_path):
    text = BAD_FROM_THIRD.replace("{name}", "hopeless").replace("{bad}", "float('nan')")
    with pytest.raises(BenchError, match="at update 3;"):
        suite.run(
            "hopeless",
            "edm-digits",
            budget="updates=60",
            eval=[],
            settings=TO_ZERO,
            plugins=[str(plugin(tmp_path, text))],
            on_divergence="rollback",
            results=tmp_path / "runs",
        )
    record = RunFolder(next((tmp_path / "runs").iterdir())).read_record()
    assert record.status == "failed"
    assert len(record.rollbacks) == loop.MOST_ROLLBACKS


def test_weights_that_are_not_finite_fail_the_run(tmp_path):
    text = (
        METHOD.format(name="burst")
        .replace(
            "        loss =",
            "        spoil = lambda: next(self.generator.parameters()).fill_(float('nan'))\n        loss =",
        )
        .replace("Adam(self.settings.lr))]", "Adam(self.settings.lr), after=spoil)]")
    )
    request = {"settings": TO_ZERO, "plugins": [str(plugin(tmp_path, text))]}
    with pytest.raises(BenchError, match="weights of the generator step are not finite after update 1;"):
        suite.run(
            "burst", "edm-digits", budget="updates=1", eval=[], results=tmp_path / "runs", **request
        )
    assert RunFolder(next((tmp_path / "runs").iterdir())).read_record().status == "failed"


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_a_learning_rate_that_bursts_the_weights_does_not_end_as_done(tmp_path, rate):
    settings = {"batch": 8, "lr": rate, "fake_lr": rate}
    with pytest.raises(BenchError, match="training diverged"):
        suite.run(
            "sid", "edm-digits", budget="updates=200", eval=[], settings=settings, results=tmp_path
        )
    assert RunFolder(next(tmp_path.iterdir())).read_record().status == "failed"


@pytest.mark.parametrize("code", ["0", "None", "3", "'over'"])
def test_a_plugin_that_exits_fails_the_run(tmp_path, code):
    text = METHOD.format(name="exits").replace(
        "self.generator(z, 1.0)",
        f"self.generator(z, 1.0) if len(z) == 0 else __import__('sys').exit({code})",
    )
    request = {"settings": TO_ZERO, "plugins": [str(plugin(tmp_path, text))]}
    with pytest.raises(BenchError, match=r"called sys\.exit\("):
        suite.run(
            "exits", "edm-digits", budget="updates=2", eval=[], results=tmp_path / "runs", **request
        )
    assert RunFolder(next((tmp_path / "runs").iterdir())).read_record().status == "failed"


def test_a_plugin_that_exits_while_it_is_loaded_is_refused(tmp_path):
    file = plugin(tmp_path, "import sys\nsys.exit(0)\n")
    with pytest.raises(UsageError, match="does not import: SystemExit: 0"):
        suite.run("sid", "edm-digits", plugins=[str(file)], results=tmp_path / "runs")


def test_what_a_plugin_prints_is_talk_and_the_record_alone_goes_to_stdout(tmp_path, bench):
    text = METHOD.format(name="prints").replace(
        "return self.generator(z, 1.0)", "print('here'); return self.generator(z, 1.0)"
    )
    file = str(plugin(tmp_path, "print('loaded')\n" + text))
    code, out, err = bench(
        *("run", "--plugin", file, "--method", "prints", "--teacher", "edm-digits", "--no-teacher"),
        *("--budget", "updates=2", "--eval", "none", *set_flags(TO_ZERO), "--format", "json"),
    )
    assert (code, json.loads(out)["status"]) == (0, "done")
    assert "loaded" in err and "here" in err


def test_a_failed_run_keeps_what_it_has_cost(tmp_path, monkeypatch):
    iteration = Trainer.iteration

    def fails_after_three(trainer):
        if trainer.ledger.updates == 3:
            raise BenchError("the fourth update fails")
        iteration(trainer)

    monkeypatch.setattr(Trainer, "iteration", fails_after_three)
    with pytest.raises(BenchError, match="the fourth update fails"):
        suite.run("sid", "edm-digits", budget="updates=9", eval=[], results=tmp_path)
    record = RunFolder(next(tmp_path.iterdir())).read_record()
    assert record.status == "failed"
    assert record.cost.updates == 3
    assert record.cost.flops > 0


def test_random_numbers_drawn_in_preparation_change_no_weights(tmp_path, monkeypatch):
    request = make_request(method="sid", teacher="edm-digits", budget="updates=2", eval=[])
    usual = carry_out(request, tmp_path / "usual")
    monkeypatch.setattr(SiD, "prepare_training", lambda method, teacher: torch.randn(7))
    drawn = carry_out(request, tmp_path / "drawn")
    assert equal(weights(tmp_path / "usual", usual.run_id), weights(tmp_path / "drawn", drawn.run_id))


def test_a_recipe_asks_again_for_every_option_of_its_evaluation(tmp_path):
    given = {
        "eval": ["kid"],
        "eval_samples": 70,
        "eval_repeats": 3,
        "eval_points": 2,
        "protocol": "digits",
        "reference": str(tmp_path),
        "extractor_path": str(tmp_path / "weights.pt"),
        "fast": True,
        "kid_subset_size": 20,
        "kid_subsets": 10,
    }
    assert given.keys() >= EvaluationOptions.model_fields.keys() | {"eval_points"}
    settled = SettledEvaluation(
        protocol="digits",
        samples=70,
        metrics=["kid"],
        repeats=3,
        points=2,
        fast=True,
        kid_subset_size=20,
        kid_subsets=10,
        reference=given["reference"],
        extractor_path=given["extractor_path"],
        extractors={},
        references="",
    )
    assert settled.as_options() == given


@pytest.mark.parametrize("budget", ["updates=5", "flops=50M", "seconds=0.2"])
def test_every_axis_ends_a_run_where_it_says(tmp_path, monkeypatch, budget):
    monkeypatch.setattr(
        time, "perf_counter", Clock(step=0.01)
    )  # an update takes a hundredth of a second
    record = suite.run(
        method="sid",
        teacher="edm-digits",
        settings={"batch": 16},
        budget=budget,
        eval=[],
        results=tmp_path,
    )
    axis, _, amount = record.recipe.budget.partition("=")
    spent, one_update = record.cost.spent(axis), record.cost.spent(axis) / record.cost.updates
    assert float(amount) <= spent < float(amount) + 4 * one_update
    assert record.evaluations == []
    assert record.final == {}


def test_a_flops_budget_without_operations_to_count_is_refused(tmp_path):
    with pytest.raises(BenchError, match="counts no operations"):
        suite.run(
            method="sid",
            teacher="gaussian",
            settings={"batch": 4},
            budget="flops=1M",
            eval=[],
            results=tmp_path,
        )


def test_pairs_that_eat_the_whole_budget_are_refused(tmp_path):
    settings = {"pairs": 50, "pair_steps": 2}
    with pytest.raises(
        BenchError, match=r"the teacher's 50 pairs alone cost .* FLOPs and the budget is 1k"
    ):
        suite.run(
            method="dmd",
            teacher="edm-digits",
            settings=settings,
            budget="flops=1k",
            eval=[],
            results=tmp_path,
        )


def test_a_second_process_on_the_same_run_is_refused_naming_the_holder(tmp_path):
    job = make_job(make_request(**REQUEST))
    with (
        RunFolder(tmp_path / job.recipe.run_id).locked(),
        pytest.raises(UsageError, match=f"held by process {os.getpid()} on "),
    ):
        runner.execute(job, tmp_path)


def test_the_teacher_is_a_run_like_any_other_at_any_number_of_steps(tmp_path):
    fids = {}
    for steps in (3, 18):
        record = suite.run(
            method="teacher",
            teacher="edm-digits",
            settings={"steps": steps},
            eval_samples=500,
            eval_repeats=1,
            results=tmp_path,
        )
        assert record.nfe == 2 * steps - 1
        assert record.cost.images == 0
        fids[steps] = record.final["fid"]
    assert fids[18] < 6 < fids[3]


def test_events_come_in_order_and_the_best_never_gets_worse(tmp_path):
    events = []
    runner.execute(make_job(make_request(**REQUEST)), tmp_path, events.append)
    evaluations = [e for e in events if isinstance(e, Evaluated)]
    best = [e.best.watched for e in evaluations]
    assert best == sorted(best, reverse=True)
    assert isinstance(events[-1], Finished)
    assert not events[-1].reused


def test_tidy_results_have_a_row_for_each_run_and_metric(results):
    suite.run(**REQUEST, seed=1, results=results)
    data = suite.results(results)
    assert sorted(zip(data["seed"], data["metric"], strict=True)) == [
        (0, "fid"),
        (0, "is"),
        (1, "fid"),
        (1, "is"),
    ]
    assert data["group"].nunique() == 1
    assert set(data["protocol"]) == {"digits-100"}


def test_runs_are_found_by_the_beginning_of_their_id(results, first):
    assert find_run(first.run_id[:12], results)[1] == first
    assert find_run(str(results / first.run_id), results)[1] == first
    with pytest.raises(UsageError, match="did you mean 'sid-edm-digits"):
        find_run("sid-edm-digit-s0", results)
    assert results_folder() == Path(os.environ["BENCH_RESULTS"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_same_command_continues_after_a_signal(bench, tmp_path, number):
    """The signal comes in a known update, at which the run waits for it."""
    file, waiting = held_method.plugin_file(tmp_path), tmp_path / "waiting"
    waiting.mkdir()
    results, straight_results = tmp_path / "stopped", tmp_path / "straight"
    command = [
        "run",
        "--plugin",
        str(file),
        "--method",
        "held",
        *set_flags(held_method.SETTINGS),
        "--teacher",
        "edm-digits",
    ]
    command += [
        "--budget",
        held_method.BUDGET,
        "--eval-samples",
        "100",
        "--eval-repeats",
        "1",
        "--no-teacher",
    ]
    command += ["--results", str(results)]
    with subprocess.Popen(
        [sys.executable, "-m", "bench", *command],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {held_method.FOLDER: str(waiting)},
    ) as process:
        try:
            wait_until(lambda: list(waiting.iterdir()), "the update in which it waits", process)
            process.send_signal(number)
            err = process.communicate()[1]
        finally:
            process.kill()
    stopped = RunFolder(next(results.iterdir())).read_record()
    if number != signal.SIGKILL:
        assert process.returncode == 75
        assert "the same command continues" in err
        assert stopped.status == "interrupted"
        assert stopped.cost.updates == held_method.UPDATE
    else:
        assert process.returncode == -signal.SIGKILL
        assert stopped.status == "running"
        assert 0 < stopped.cost.updates < held_method.UPDATE
    err = bench.ok(*command).err
    assert f"continuing after {stopped.cost.images:,} images" in err
    small = {
        "budget": held_method.BUDGET,
        "eval_samples": 100,
        "eval_repeats": 1,
        "results": straight_results,
    }
    straight = suite.run(
        "held", "edm-digits", settings=held_method.SETTINGS, plugins=[str(file)], **small
    )
    assert equal(weights(straight_results, straight.run_id), weights(results, straight.run_id))


CONDITIONAL = """
import torch
from bench.plugin import EDMPrecond, ImageSpec, NoiseLevels, Sampler, Teacher, register_teacher

class Labelled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.label = torch.nn.Linear(64, 64), torch.nn.Linear(3, 64, bias=False)
    def forward(self, x, c_noise, labels, augment_labels):
        return (self.image(x.flatten(1)) + self.label(labels)).view_as(x)

@register_teacher("three-classes")
class ThreeClasses(Teacher):
    image_spec, noise, sampler = ImageSpec(1, 8, label_dim=3), NoiseLevels(), Sampler(4)
    dataset, protocol = "digits", "digits-5k"
    def load(self, path):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return EDMPrecond(Labelled())
"""


@pytest.mark.parametrize("method", ["sid", "diff-instruct", "dmd"])
def test_a_class_conditional_teacher_goes_through_every_method_and_resume(tmp_path, monkeypatch, method):
    file = str(plugin(tmp_path, CONDITIONAL))
    settings = {
        "batch": 32,
        "lr_decay": 0.5,
        "ema_halflife": 500,
        "dropout": 0,
        "lr": 1e-4,
        "fake_lr": 1e-4,
    }
    settings |= {"pairs": 40, "pair_steps": 2, "distance": "l2"} if method == "dmd" else {}
    request = make_request(
        method=method, teacher="three-classes", settings=settings, plugins=[file], **SMALL
    )
    straight = carry_out(request, tmp_path / "straight")
    kill_after(6, request, tmp_path / "stopped", monkeypatch)
    continued = carry_out(request, tmp_path / "stopped")
    assert curve(continued) == curve(straight)
    assert straight.final["fid"] > 0


METRIC = """
from dataclasses import dataclass
from bench.plugin import FeatureMetric, Moments, register_metric

@register_metric("mean-distance")
@dataclass(frozen=True)
class MeanDistance(FeatureMetric):
    direction, feature, statistics, reference_statistics = "lower", "pool", Moments, Moments
    def value(self, generated, reference):
        return {value}
"""


def test_a_plugin_metric_takes_part_without_a_change_to_the_suite(tmp_path):
    text = METRIC.replace("{value}", '(generated["mu"] - reference["mu"]).norm().item()')
    request = REQUEST | {"eval": ["mean-distance", "fid"], "plugins": [str(plugin(tmp_path, text))]}
    record = suite.run(**request, results=tmp_path / "runs")
    assert set(record.final) == {"mean-distance", "fid"}
    assert record.final["mean-distance"] > 0


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "direction, feature",
            "needed: int\n    direction, feature",
            "cannot be made as digits-.*required",
        ),
        ("(FeatureMetric)", "(Metric)", "expected a subclass of FeatureMetric or GeneratorMetric"),
    ],
    ids=["needs arguments", "of no kind"],
)
def test_a_metric_that_needs_arguments_or_is_of_no_kind_breaks_its_contract(
    tmp_path, old, new, complaint
):
    text = (
        METRIC.replace(old, new)
        .replace("FeatureMetric, Moments", "FeatureMetric, Metric, Moments")
        .replace("{value}", "0.0")
    )
    with pytest.raises(UsageError, match=complaint):
        suite.run(
            **REQUEST | {"eval": ["mean-distance"], "plugins": [str(plugin(tmp_path, text))]},
            results=tmp_path / "runs",
        )


def test_a_metric_that_is_no_number_fails_the_run_and_leaves_a_readable_record(tmp_path):
    request = REQUEST | {
        "eval": ["mean-distance"],
        "plugins": [str(plugin(tmp_path, METRIC.replace("{value}", 'float("nan")')))],
    }
    with pytest.raises(BenchError, match="came out as nan"):
        suite.run(**request, results=tmp_path / "runs")
    assert RunFolder(next((tmp_path / "runs").iterdir())).read_record().status == "failed"


def test_a_recipe_made_with_other_weights_is_refused(results, first):
    recipe = results / first.run_id / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(first.recipe.teacher_digest, "f" * 64))
    with pytest.raises(UsageError, match="the recipe was made with ffffffffffff"):
        make_job(make_request(**read_recipe(recipe)))


def test_records_of_another_version_stay_in_the_table_and_do_not_stop_a_run(tmp_path, bench):
    """Their recipes may have fields that this version does not know."""
    request = {
        "method": "teacher",
        "teacher": "edm-digits",
        "eval_samples": 60,
        "eval_repeats": 1,
        "settings": {"steps": None},
    }
    record = suite.run(**request, results=tmp_path)
    file = tmp_path / record.run_id / "record.json"
    content = json.loads(file.read_text())
    content["recipe"]["evaluation"] |= {"extractor_digest": "abc"}
    file.write_text(json.dumps(content))
    asked = [
        "--method",
        "sid",
        "--teacher",
        "edm-digits",
        "--budget",
        "updates=2",
        "--set",
        "batch=8",
        "--eval-samples",
        "60",
    ]
    bench.ok("run", *asked, "--eval-repeats", "1", "--no-teacher", "--results", str(tmp_path))
    out = bench.ok("table", "--results", str(tmp_path), "--format", "csv").out
    assert "teacher" in out and "sid" in out
