"""A grid on a cluster: by submitit's local executor, and by the script for sbatch with stand-ins for Slurm's
commands. ``test_real_slurm.py`` has the same with a true queue.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.api import suite_script
from bench.errors import Interrupted, UsageError
from bench.launching import slurm
from bench.launching.job_array import make_job_array, parse_option
from bench.launching.local import Launcher
from bench.runs.grid import grid_runs
from bench.runs.suite import make_suite
from tests.helpers import held_method
from tests.helpers.waiting import wait_until

SMALL = {"settings": {"batch": 32}}
TIME = {"time": "1:00:00"}


def suite(**fields):
    usual = {
        "teachers": ["edm-digits"],
        "methods": [{"method": "sid"} | SMALL],
        "eval": [],
        "device": "cpu",
    }
    return make_suite(usual | {"with_teacher": False, "budget": "images=64", "seeds": [0, 1]} | fields)


def held_suite(folder: Path, **fields):
    """Runs of which the first to come to a known update waits for a signal."""
    method = {"method": "held", "settings": held_method.SETTINGS}
    plugins = [str(held_method.plugin_file(folder, once=True))]
    return suite(methods=[method], budget=held_method.BUDGET, plugins=plugins, **fields)


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """The folder for the marks of those who wait."""
    folder = tmp_path / "waiting"
    folder.mkdir()
    monkeypatch.setenv(held_method.FOLDER, str(folder))
    return folder


@pytest.fixture
def local(monkeypatch):
    """Submitit's executor for this machine in place of Slurm's."""
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(slurm, "in_queue", lambda names: None)


def launch(runs, results, **options):
    return slurm.SlurmLauncher(runs, results, make_job_array(TIME, "cpu", 1, **options))


def parent(process: int) -> int:
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(words[1])


def curves(results: Path) -> list[list[int]]:
    files = sorted(results.glob("*/metrics.jsonl"))
    return [[json.loads(line)["images"] for line in file.read_text().splitlines()] for file in files]


@pytest.mark.slow
def test_a_run_that_slurm_warns_saves_its_checkpoint_and_is_queued_again(tmp_path, local, waiting):
    runs, seen = grid_runs(held_suite(tmp_path).requests(), tmp_path / "runs"), []

    def warn() -> None:
        wait_until(lambda: list(waiting.iterdir()), "a run waits")
        os.kill(parent(int(next(waiting.iterdir()).name)), signal.SIGUSR2)

    thread = threading.Thread(target=warn)
    thread.start()
    launch(runs, tmp_path / "runs").carry_out(seen.append)
    thread.join()
    assert [(run.state, run.error) for run in runs] == [("done", "")] * 2
    assert curves(tmp_path / "runs") == [held_method.CURVE] * 2  # no update was taken twice
    assert "in the queue: 2 of 2 runs; `scancel " in seen[0].text
    logs = [file.read_text() for file in (tmp_path / "runs").glob("slurm/*/*_log.out")]
    assert sum("Requeued job" in log for log in logs) == 1


@pytest.mark.slow
def test_several_processes_share_a_run_and_one_that_fails_says_why(tmp_path, local):
    requests = suite(seeds=[0, 1]).requests()
    requests[0] = requests[0].model_copy(update={"eval": ["fid"], "eval_samples": 100})
    runs = grid_runs(requests, tmp_path / "runs")
    array = make_job_array(TIME, "cpu", 2)
    slurm.SlurmLauncher(runs, tmp_path / "runs", array).carry_out()
    assert [run.state for run in runs] == ["failed", "done"]
    assert "100 images in batches of 250 are too few for 2 processes; start fewer" in runs[0].error
    assert runs[1].record.environment.world_size == 2


def test_whoever_stops_waiting_leaves_the_runs_to_the_cluster(tmp_path, local, waiting):
    """And whoever comes again waits for the same jobs."""
    runs = grid_runs(held_suite(tmp_path, seeds=[0]).requests(), tmp_path / "runs")
    launcher = launch(runs, tmp_path / "runs")

    def leave(event) -> None:
        if list(waiting.iterdir()):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="the runs go on without this command"):
        launcher.carry_out(leave)
    jobs = [job for _, job, _ in launcher.jobs]
    again = launch(
        grid_runs(held_suite(tmp_path, seeds=[0]).requests(), tmp_path / "runs"), tmp_path / "runs"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "in_queue", lambda names: {str(job.job_id) for job in jobs} & set(names))
        again.carry_out(wait=False)
    assert {job.job_id for _, job, _ in again.jobs} == {job.job_id for job in jobs}
    assert len(list((tmp_path / "runs" / "slurm").iterdir())) == 1
    jobs[0].cancel()
    wait_until(jobs[0].done, "the job has ended")


def test_a_job_that_leaves_the_queue_without_an_answer_has_failed(tmp_path, local, monkeypatch):
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "in_queue", lambda names: set())
    monkeypatch.setattr(slurm.Element, "__call__", lambda self, command: os._exit(1))
    runs = grid_runs(suite(seeds=[0]).requests(), tmp_path / "runs")
    launch(runs, tmp_path / "runs").carry_out()
    assert runs[0].state == "failed"
    assert "has left the queue without an answer; see " in runs[0].error


def test_what_slurm_cannot_be_asked_is_one_sentence(bench, tmp_path, monkeypatch):
    asked = ["compare", "--methods", "sid", "--teacher", "edm-digits", "--device", "cpu"]
    for options, complaint in [
        (["--launcher", "slurm"], "a run on a cluster needs its time limit; give one as in"),
        (["--launcher", "slorm"], "unknown launcher 'slorm'; did you mean 'slurm'?"),
        (["--no-wait"], "--slurm and --no-wait are for a cluster"),
        (["--slurm", "time=5"], "--slurm and --no-wait are for a cluster"),
        (["--print-sbatch", "--slurm", "time"], "--slurm 'time' is not of the form KEY=VALUE"),
        (["--print-sbatch", "--slurm", "Time x=5"], "'Time x=5' is no option of sbatch"),
        (["--print-sbatch", "--slurm", "array=0-5"], "--slurm array: the suite sets this option"),
        (["--print-sbatch", "--slurm", "nodes=two"], "--slurm nodes: 'two' is not a whole number"),
    ]:
        code, out, err = bench(*asked, *options)
        assert (code, out) == (2, ""), options
        assert complaint in err
        assert err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, _, err = bench(*asked, "--launcher", "slurm", "--slurm", "time=5")
    assert code == 2
    assert "needs submitit; pip install 'distill-bench[slurm]', or write a script with" in err
    assert not (tmp_path / "runs").exists()


def test_a_cluster_that_takes_no_job_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    commands(
        tmp_path, srun="", sbatch="echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1"
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    runs = grid_runs(suite().requests(), tmp_path / "runs")
    with pytest.raises(UsageError, match="error: invalid partition specified: gpu"):
        launch(runs, tmp_path / "runs").carry_out()
    assert not list((tmp_path / "runs" / "slurm").iterdir())


def test_options_of_sbatch_are_taken_in_either_spelling():
    array = make_job_array({"cpus_per_task": "4", "signal": "USR1@300", "nodes": "2"}, "auto", 8, 3)
    assert array.options == {"job-name": "bench", "cpus-per-task": "4", "gpus-per-node": "8"}
    assert (array.warning_seconds, array.processes, array.at_once) == (300, 16, 3)
    assert "gpus-per-node" not in make_job_array({"gres": "gpu:a100:1"}, "cuda", 1).options
    assert parse_option("comment=a=b") == ("comment", "a=b")


# The script for sbatch


def commands(folder: Path, **texts: str) -> None:
    """Write stand-ins for the commands of Slurm."""
    (folder / "bin").mkdir()
    for name, text in texts.items():
        file = folder / "bin" / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)


def script(folder: Path, chosen, gpus: int = 1, **options: str) -> Path:
    file = folder / "grid.sh"
    file.write_text(suite_script(chosen, folder / "the runs", slurm=TIME | options, gpus_per_run=gpus))
    subprocess.run(["bash", "-n", str(file)], check=True)
    return file


def test_the_script_is_readable(tmp_path):
    lines = script(tmp_path, suite(device="auto"), partition="gpu", comment="it's mine").read_text()
    for line in [
        "#SBATCH --partition=gpu",
        "#SBATCH --time=1:00:00",
        """#SBATCH --comment='it'"'"'s mine'""",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --array=0-1",
        "#SBATCH --signal=USR1@120",
        "#SBATCH --requeue",
    ]:
        assert f"\n{line}\n" in lines
    assert '"method": "sid", "teacher": "edm-digits", "seed": 1, "budget": "images=64"' in lines.replace(
        '"eval": [], ', ""
    )
    assert not (tmp_path / "the runs").exists()


@pytest.mark.slow
def test_the_script_carries_out_its_runs_and_queues_again_what_is_interrupted(tmp_path, waiting):
    again = tmp_path / "again"
    commands(tmp_path, srun='exec "$@"', scontrol=f'echo "$@" >> {again}')
    file = script(tmp_path, held_suite(tmp_path))
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment |= {"SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "0"}
    with subprocess.Popen(["bash", str(file)], env=environment, cwd=tmp_path) as process:
        wait_until(lambda: list(waiting.iterdir()), "the run waits", process)
        os.kill(int(next(waiting.iterdir()).name), signal.SIGUSR1)
    assert process.returncode == 75
    assert again.read_text() == "requeue 7_0\n"
    for number in "01":
        environment["SLURM_ARRAY_TASK_ID"] = number
        subprocess.run(["bash", str(file)], env=environment, cwd=tmp_path, check=True)
    assert again.read_text() == "requeue 7_0\n"
    assert curves(tmp_path / "the runs") == [held_method.CURVE] * 2
    runs = grid_runs(held_suite(tmp_path).requests(), tmp_path / "the runs")
    assert [run.state for run in runs] == ["done"] * 2  # which are found by the words of the suite
    with pytest.raises(UsageError, match="no run waits: all are finished"):
        script(tmp_path, held_suite(tmp_path))


@pytest.mark.slow
def test_several_gpus_of_a_script_are_processes_of_one_run(tmp_path):
    together = (
        'for p in 0 1; do SLURM_PROCID=$p SLURM_LOCALID=$p SLURM_NTASKS=2 "$@" & all+=($!); done\n'
    )
    commands(tmp_path, srun=together + 'wait "${all[0]}" && wait "${all[1]}"', scontrol="echo localhost")
    file = script(tmp_path, suite(seeds=[0]), gpus=2)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment |= {"SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "0"}
    subprocess.run(["bash", str(file)], env=environment | {"SLURM_JOB_NODELIST": "a"}, check=True)
    runs = grid_runs(suite(seeds=[0]).requests(), tmp_path / "the runs")
    assert runs[0].record.environment.world_size == 2


def test_nothing_is_launched_here_for_a_script(tmp_path, monkeypatch):
    monkeypatch.setattr(Launcher, "carry_out", lambda *a: pytest.fail("a run was started"))
    assert script(tmp_path, suite()).exists()
