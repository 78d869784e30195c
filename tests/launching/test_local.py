"""Grids of runs: what a suite means, how its runs are found again, and what happens when something
goes wrong.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import bench as suite_api
from bench.errors import UsageError
from bench.files.documents import dump_yaml
from bench.launching.local import Launcher, repeated_by, visible_gpus
from bench.render.terminal.overview import overview, standing
from bench.runs.folder import RunFolder
from bench.runs.grid import budget_mismatches, grid_runs, labels
from bench.runs.suite import make_suite, read_suite
from bench.training.job import check_suite, make_job
from tests.helpers import held_method
from tests.helpers.plugins import METHOD, SETTINGS, plugin, set_flags
from tests.helpers.records import record
from tests.helpers.waiting import wait_until

SUITES = Path(__file__).parents[2] / "suites"
SMALL = {"settings": {"batch": 32}}


def requests(**fields):
    usual = {
        "teachers": ["edm-digits"],
        "methods": [{"method": "sid"} | SMALL],
        "eval": [],
        "with_teacher": False,
    }
    return make_suite(usual | {"budget": "images=64", "seeds": [0]} | fields).requests()


def test_a_suite_is_the_product_of_its_methods_teachers_seeds_and_settings():
    methods = [
        "kd",
        {"method": "sid", "settings": {"batch": 32}, "grid": {"alpha": [1.0, 1.2], "lr": [1e-3, 2e-3]}},
    ]
    found = requests(methods=methods, seeds=[0, 7], with_teacher=True)
    assert len(found) == 1 + 2 * (1 + 4)
    assert (found[0].method, found[0].budget) == ("teacher", None)
    assert {r.seed for r in found[1:]} == {0, 7}
    assert [r.settings for r in found if r.method == "sid" and r.seed == 7] == [
        {"batch": 32, "alpha": alpha, "lr": lr} for alpha in (1.0, 1.2) for lr in (1e-3, 2e-3)
    ]
    assert all(r.budget == "images=64" for r in found[1:])


def test_images_are_given_to_the_methods_that_learn_from_some():
    fields = {"methods": ["sid", "ect", {"method": "dmd2", "settings": {"gan": 0}}], "data": "digits"}
    found = check_suite(
        make_suite({"teachers": ["edm-digits"], "seeds": [0], "with_teacher": False} | fields)
    )
    assert [r.data for r in found] == [None, "digits", None]


@pytest.mark.parametrize("file", sorted(SUITES.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_shipped_suites_hold(file):
    found = read_suite(file, {}).requests()
    assert len(found) > 5
    assert len({r.method for r in found}) >= (2 if "alpha" in file.stem else 8)


def test_a_suite_that_multiplies_beyond_any_machine_is_refused_at_once(bench, tmp_path):
    file, many = tmp_path / "suite.yaml", list(range(1000))
    entry = {"method": "sid", "grid": {"alpha": many, "lr": many, "batch": many}}
    file.write_text(dump_yaml({"teachers": ["edm-digits"], "methods": [entry], "seeds": [0, 1]}))
    with pytest.raises(
        UsageError, match="its grids multiply to 2,000,000,000 runs, expected at most 10,000"
    ):
        read_suite(file, {})
    arguments = ("--methods", "sid", "--teacher", "edm-digits", "--budget", "images=1k")
    code, _, err = bench("compare", *arguments, "--seeds", "1000000000000")
    assert code == 2
    assert "--seeds '1000000000000' is neither a number of seeds" in err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("methods: [sid]", "teachers: field required"),
        ("teachers: [edm-digits]\nmethods: []", "methods: list should have at least 1 item"),
        (
            "teachers: [edm-digits]\nmethods: [sid]\nseed: 3",
            "seed: extra inputs are not permitted, given 3",
        ),
        ("- sid", "holds list, expected fields such as methods and seeds"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_suite_that_does_not_hold_is_refused_in_one_sentence(tmp_path, content, complaint):
    file = tmp_path / "suite.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=complaint):
        read_suite(file, {}).requests()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--methods", "sid", "--teacher", "edm-digits", "--seeds", "0"],
            "--seeds '0' is neither a number of seeds above 0",
        ),
        (
            ["--methods", "sid", "--teacher", "edm-digits", "--seeds", "a,b"],
            "nor a list of them, such as 0,1,2",
        ),
        (["--methods", "sod", "--teacher", "edm-digits"], "unknown method 'sod'; did you mean 'sid'?"),
        (["--methods", "sid", "--teacher", "edm-digit"], "unknown teacher 'edm-digit'"),
        (
            ["--methods", "sid", "--teacher", "edm-digits", "--set", "beta=1"],
            "unknown setting of method 'sid': 'beta'",
        ),
        (["--methods", "sid"], "teachers: field required"),
        (["nowhere.yaml"], "the suite file 'nowhere.yaml' does not exist"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_before_anything_runs(
    bench, tmp_path, arguments, complaint
):
    code, _, err = bench("compare", *arguments, "--results", str(tmp_path / "runs"))
    assert code == 2
    assert complaint in err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_what_is_finished_is_reused_and_what_failed_waits_to_be_asked_for(tmp_path):
    record = suite_api.run(
        "sid", "edm-digits", budget="images=64", settings={"batch": 32}, eval=[], results=tmp_path
    )
    asked = requests(seeds=[0, 1])
    assert [cell.state for cell in grid_runs(asked, tmp_path)] == ["done", "waiting"]
    folder = RunFolder(tmp_path / record.run_id)
    folder.write_record(record.model_copy(update={"status": "failed", "error": "the disk is full"}))
    first = grid_runs(asked, tmp_path)[0]
    assert (first.state, first.error) == ("failed", "the disk is full")
    assert grid_runs(asked, tmp_path, retry=True)[0].state == "waiting"
    folder.write_record(
        record.model_copy(
            update={"status": "interrupted", "cost": record.cost.model_copy(update={"images": 16})}
        )
    )
    first = grid_runs(asked, tmp_path)[0]
    assert (first.state, first.fraction) == ("waiting", 0.25)


def test_a_run_that_fails_is_noted_and_the_others_go_on(tmp_path):
    methods = [{"method": "ect"} | SMALL, {"method": "sid"} | SMALL]
    asked = requests(methods=methods)
    asked[0] = asked[0].model_copy(update={"data": "nothing"})
    cells, seen = grid_runs(asked, tmp_path), []
    Launcher(cells, tmp_path, processes=2).carry_out(
        lambda event: seen.append([run.state for run in event.runs])
    )
    assert [cell.state for cell in cells] == ["failed", "done"]
    assert "method 'ect' learns from real images" in cells[0].error
    assert cells[1].record.cost.images == 64
    assert ["running", "running"] in seen
    assert standing(cells) == "1 of 2 done, 1 failed"
    assert overview(cells).row_count == 2
    assert budget_mismatches(cells) == []


SPEAKS = "print('here', flush=True); __import__('os').write(1, b'there'); "
ENDINGS = {
    "prints": (SPEAKS, None),
    "exits": ("__import__('sys').exit(0); ", "called sys.exit(0) before it was done"),
    "raises": (
        "raise ValueError('no'); ",
        "/runs/raises-edm-digits-s0-",  # the recipe of its folder, which stays
    ),
    "ends": ("__import__('os')._exit(0); ", "it ended with code 0 before it was done"),
}
"""What a plugin does whenever it makes images, and why its run has failed, if it has."""


@pytest.mark.parametrize("name", ENDINGS)
def test_a_run_is_done_if_its_record_says_so_whatever_a_plugin_prints(tmp_path, name):
    act, reason = ENDINGS[name]
    text = METHOD.format(name=name).replace("return self.generator", f"{act}return self.generator")
    file = str(plugin(tmp_path, text))
    asked = requests(
        methods=[{"method": name, "settings": SETTINGS}], plugins=[file], budget="updates=2"
    )
    cells = grid_runs(asked, tmp_path / "runs")
    Launcher(cells, tmp_path / "runs", processes=1).carry_out()
    if reason is None:
        assert [(cell.state, cell.record.status) for cell in cells] == [("done", "done")]
    else:
        assert [cell.state for cell in cells] == ["failed"]
        assert reason in cells[0].error
        assert "/tmp" not in cells[0].error.replace(str(tmp_path), "")


@pytest.mark.parametrize(
    "name", ["teachers", "bench", "methods", "evals", "platform", "random", "torch"]
)
def test_nothing_in_the_working_directory_stands_in_for_a_module(tmp_path, monkeypatch, name):
    work = tmp_path / "work"
    work.mkdir()
    (work / f"{name}.py").write_text("open('executed', 'w')\nraise SystemExit('not this one')\n")
    (work / name).mkdir()
    (work / name / "__init__.py").write_text("open('executed', 'w')\n")
    monkeypatch.chdir(work)
    cells = grid_runs(requests(), tmp_path / "runs")
    Launcher(cells, tmp_path / "runs", processes=1).carry_out()
    assert [(cell.state, cell.error) for cell in cells] == [("done", "")]
    assert not (work / "executed").exists()


def processes_of(folder: Path) -> list[int]:
    """The runs that are at work in a results folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"run" in words and str(folder).encode() in words:
            found.append(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_comparison_that_is_stopped_or_killed_loses_nothing_and_goes_on(bench, tmp_path, number):
    """The runs save their checkpoints in both cases, and the same command finishes only what is missing.

    The signal comes when both runs are in a known update, in which they wait for theirs.
    """
    waiting, results = tmp_path / "waiting", tmp_path / "runs"
    waiting.mkdir()
    suite_api.run("teacher", "edm-digits", eval=["fid"], eval_samples=200, results=results)
    command = ["compare", "--plugin", str(held_method.plugin_file(tmp_path)), "--methods", "held"]
    command += [
        *set_flags(held_method.SETTINGS),
        "--teacher",
        "edm-digits",
        "--seeds",
        "2",
        "--budget",
        held_method.BUDGET,
    ]
    command += [
        "--eval",
        "fid",
        "--eval-samples",
        "200",
        "--eval-points",
        "1",
        "--processes",
        "2",
        "--format",
        "json",
    ]
    command += ["--results", str(results)]
    environment = os.environ | {held_method.FOLDER: str(waiting)}
    with subprocess.Popen(
        [sys.executable, "-m", "bench", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            wait_until(lambda: len(list(waiting.iterdir())) == 2, "both runs wait", process)
            process.send_signal(number)
            said = process.communicate()[1]
        finally:
            process.kill()
    if number == signal.SIGTERM:
        assert process.returncode == 75
        assert "stopped with every checkpoint saved; the same command continues" in said
    wait_until(lambda: not processes_of(results), "its runs have ended")
    records = [json.loads(file.read_text()) for file in results.glob("held-*/record.json")]
    assert [record["status"] for record in records] == ["interrupted"] * 2
    assert [record["cost"]["updates"] for record in records] == [held_method.UPDATE] * 2
    out = bench.ok(*command).out
    assert {row["method"]: row["seeds"] for row in json.loads(out)} == {"teacher": 1, "held": 2}
    curves = [
        [json.loads(line)["images"] for line in f.read_text().splitlines()]
        for f in results.glob("held-*/metrics.jsonl")
    ]
    assert curves == [held_method.CURVE] * 2  # no update was taken twice


def test_a_run_that_was_asked_for_in_other_words_is_the_same_run(tmp_path):
    """Its record comes back from the process, whatever the words; and two such cells of one grid do
    not hinder each other.
    """
    suite_api.run(
        "sid", "edm-digits", budget="images=1000", settings={"batch": 32}, eval=[], results=tmp_path
    )
    methods = [{"method": "sid", "budget": budget} | SMALL for budget in ("images=1k", "images=1000.0")]
    cells = grid_runs(requests(methods=methods), tmp_path)
    assert [cell.state for cell in cells] == ["waiting", "waiting"]
    Launcher(cells, tmp_path, processes=2).carry_out()
    assert [cell.state for cell in cells] == ["done", "done"]
    assert len({cell.record.run_id for cell in cells}) == 1
    assert len(set(labels(cells))) == 2


def test_a_run_that_another_process_holds_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.launching.local.HELD_SECONDS", 0.5)
    asked = requests()
    folder = RunFolder(tmp_path / make_job(asked[0]).recipe.run_id)
    held, cells, seen = ExitStack(), grid_runs(asked, tmp_path), []
    held.enter_context(folder.locked())

    def watch(event):
        seen.append(cells[0].state)
        if "running" in seen and seen[-1] == "waiting":
            held.close()

    Launcher(cells, tmp_path, processes=1).carry_out(watch)
    assert "waiting" in seen[seen.index("running") :]
    assert cells[0].state == "done"


def test_no_run_is_left_behind_when_something_goes_wrong_here(tmp_path):
    cells = grid_runs(requests(budget="images=2M"), tmp_path)

    def watch(event):
        if cells[0].record is not None:
            raise RuntimeError("the screen is full")

    with pytest.raises(RuntimeError, match="the screen is full"):
        Launcher(cells, tmp_path, processes=1).carry_out(watch)
    assert not processes_of(tmp_path)


def test_a_comparison_from_python_knows_its_plugins_and_returns_a_frame(tmp_path, monkeypatch):
    # as the kernel of a notebook has it that was installed apart
    monkeypatch.setenv("MPLBACKEND", "module://of_the_kernel_alone")
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    settings = {"batch": 32, "lr": 1e-4, "lr_decay": 0, "ema_halflife": 500, "dropout": 0}
    fields = {
        "teachers": ["edm-digits"],
        "methods": [{"method": "mine", "settings": settings}],
        "seeds": [0],
        "plugins": [str(plugin)],
    }
    small = {
        "eval": ["fid"],
        "eval_samples": 60,
        "eval_repeats": 1,
        "eval_points": 1,
        "with_teacher": False,
    }
    found = suite_api.compare(
        **fields, **small, budget="images=64", results=tmp_path / "runs", processes=1
    )
    assert found[["method", "metric", "images"]].to_numpy().tolist() == [["mine", "fid", 64]]


PLUGIN = """
from bench.plugin import Adam, Method, Step, denoising_loss, register_method

@register_method("mine")
class Mine(Method):
    def build(self, teacher):
        self.generator = teacher.trainable_copy()
    def steps(self):
        return [Step("generator", self.generator, self.loss, Adam(self.settings.lr))]
    def generate(self, z, labels=None):
        return self.generator(2.5 * z, 2.5, labels)
    def loss(self, batch):
        return denoising_loss(self.generator, self.generate(batch.z).detach(), self.noise)
"""


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"budget": "images=2X"}, "has the amount '2X'"),
        ({"methods": ["teacher", "sid"]}, "'teacher' does not train and takes no budget"),
        ({"eval": ["fud"]}, "unknown metric 'fud'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_process_starts(tmp_path, monkeypatch, fields, complaint):
    monkeypatch.setattr(
        "bench.launching.local.Launcher.carry_out", lambda *a: pytest.fail("a run was started")
    )
    usual = {"teachers": ["edm-digits"], "methods": ["sid"], "budget": "images=64"}
    with pytest.raises(UsageError, match=complaint):
        suite_api.compare(**(usual | fields), results=tmp_path)


def test_gpus_are_given_by_their_names(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-1a")
    assert visible_gpus("auto") == ["5", "GPU-1a"]
    assert visible_gpus("cpu") == []
    with pytest.raises(UsageError, match="set CUDA_VISIBLE_DEVICES instead"):
        visible_gpus("cuda:1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus("cuda") == ["0", "1"]


def test_the_dry_run_is_a_table_of_the_grid(bench, tmp_path):
    arguments = [
        "--methods",
        "sid,ect",
        "--teacher",
        "edm-digits",
        "--budget",
        "flops=1G",
        "--seeds",
        "2",
        "--dry-run",
    ]
    out = bench.ok("compare", *arguments, "--results", str(tmp_path / "runs")).out
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["run", "done", "budget", "FLOPs", "time", "memory"]
    assert rows[2][:6] == ["sid", "on", "edm-digits", "0", "of", "2"]
    assert rows[2][6:8] == ["flops=1G", "1G"]
    assert not (tmp_path / "runs").exists()


def test_the_command_that_shows_where_a_run_failed_can_be_pasted(tmp_path):
    said = record("sid", 0)
    results = tmp_path / "my results"
    sentence = repeated_by("it failed; `bench --debug run ...` shows where.", said, results)
    assert sentence.startswith("it failed; `")
    words = shlex.split(sentence.split("`")[1])
    assert words[:3] == ["bench", "--debug", "run"]
    assert words[4:] == [str(results / said.run_id / "recipe.yaml"), "--results", str(results)]
