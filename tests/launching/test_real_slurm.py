"""A grid through a true queue: a cluster of one machine, where Debian's ``slurm-wlm`` and ``munge`` are
installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import held_method
from tests.helpers.plugins import set_flags
from tests.helpers.slurm_machine import MISSING, slurm_machine
from tests.helpers.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"a cluster of one machine needs {', '.join(MISSING)}"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster(tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a cluster of one machine, with the folder for the marks of runs that wait."""
    (tmp_path / "waiting").mkdir()
    own = {
        held_method.FOLDER: str(tmp_path / "waiting"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    with slurm_machine(tmp_path / "slurm", cpus=2) as environment:
        yield environment | own


def compare(folder: Path) -> list[str]:
    """Four runs, with the teacher's own, of which one waits for a signal in a known update."""
    plugin = str(held_method.plugin_file(folder, once=True))
    command = [sys.executable, "-m", "bench", "compare", "--plugin", plugin, "--methods", "held"]
    command += [*set_flags(held_method.SETTINGS), "--teacher", "edm-digits", "--seeds", "3"]
    command += ["--budget", held_method.BUDGET, "--eval", "fid", "--eval-samples", "100"]
    command += ["--eval-points", "1", "--eval-repeats", "1", "--device", "cpu", "--format", "json"]
    return [*command, "--results", str(folder / "runs"), "--slurm", "time=10"]


def interrupt_the_one_that_waits(folder: Path, cluster: dict[str, str], command: list[str]) -> None:
    """Give a command with the number of the job whose run waits, and, where that queues it again, end the
    two minutes for which Slurm then lets a job rest.
    """
    process = int(next((folder / "waiting").iterdir()).name)
    words = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    job = next(word.partition("=")[2] for word in words if word.startswith("SLURM_JOB_ID="))
    # scancel may repeat itself for minutes although its signal has come.
    subprocess.run(["timeout", "5", *command, job], env=cluster, check=False)
    if command[-1] != "--signal=TERM":
        wait_until(lambda: "BeginTime" in queue(cluster), "the run is in the queue again")
        now = ["scontrol", "update", f"jobid={job}", "StartTime=now"]
        subprocess.run(now, env=cluster, check=True)


def queue(cluster: dict[str, str]) -> str:
    asked = ["squeue", "--noheader", "--array", "--format=%i %T %r"]
    return subprocess.run(asked, env=cluster, capture_output=True, text=True, check=True).stdout


def require_complete(rows: str, results: Path) -> None:
    assert {row["method"]: row["seeds"] for row in json.loads(rows)} == {"teacher": 1, "held": 3}
    files = results.glob("held-*/metrics.jsonl")
    found = [[json.loads(line)["images"] for line in f.read_text().splitlines()] for f in files]
    assert found == [held_method.CURVE] * 3  # no update was taken twice


@pytest.mark.parametrize("interruption", ["--signal=USR2", "--signal=TERM", "requeue"])
def test_a_grid_is_complete_although_a_job_is_interrupted(tmp_path, cluster, interruption):
    """By the warning before a time limit, by the signal of a preemption, and by the administrator."""
    pytest.importorskip("submitit")
    with subprocess.Popen(
        [*compare(tmp_path), "--launcher", "slurm"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cluster,
    ) as process:
        try:
            wait_until(lambda: list((tmp_path / "waiting").iterdir()), "a run waits", process)
            act = ["scontrol", "requeue"] if interruption == "requeue" else ["scancel", interruption]
            interrupt_the_one_that_waits(tmp_path, cluster, act)
            out, said = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0, said
    require_complete(out, tmp_path / "runs")


def test_a_script_goes_through_the_queue_although_a_job_is_interrupted(tmp_path, cluster):
    """The table is complete afterwards."""
    command = compare(tmp_path)
    written = subprocess.run([*command, "--print-sbatch"], env=cluster, capture_output=True, check=True)
    (tmp_path / "grid.sh").write_bytes(written.stdout)
    said = subprocess.run(
        ["sbatch", "grid.sh"], env=cluster, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    job = re.search("[0-9]+", said)[0]
    try:
        wait_until(lambda: list((tmp_path / "waiting").iterdir()), "a run waits")
        interrupt_the_one_that_waits(tmp_path, cluster, ["scancel", "--signal=USR1"])
        wait_until(lambda: not queue(cluster), "all runs are done")
    finally:
        subprocess.run(["scancel", job], env=cluster)
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    table = [sys.executable, "-m", "bench", "table", "--format", "json", "--results"]
    rows = subprocess.run([*table, str(tmp_path / "runs")], env=own, capture_output=True, check=True)
    require_complete(rows.stdout.decode(), tmp_path / "runs")
