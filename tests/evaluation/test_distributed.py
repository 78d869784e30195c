"""Several processes share an evaluation: the same images, the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.pictures import digits_folder

ASKED = [
    "eval",
    "teacher:edm-digits",
    "--eval-samples",
    "600",
    "--eval-repeats",
    "2",
    "--batch",
    "64",
    "--format",
    "json",
]
ASKED += ["--metrics", "fid,is,fid-infinity,precision,recall,coverage"]


def processes(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
        "-m",
        "bench",
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("count", [2])
def test_any_number_of_processes_measures_the_same(bench, count):
    out = bench.ok(*ASKED).out
    alone = json.loads(out)["metrics"]
    done = processes(count, *ASKED)
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)["metrics"]  # one process prints
    for name, metric in alone.items():
        assert together[name]["values"] == pytest.approx(metric["values"], abs=1e-6), name


def test_more_processes_than_batches_are_refused(bench):
    done = processes(2, "eval", "teacher:edm-digits", "--eval-samples", "60", "--metrics", "fid")
    assert done.returncode != 0
    assert "60 images in batches of 250 are too few for 2 processes" in done.stderr


def test_a_small_data_set_is_shared_by_the_processes_too(bench, tmp_path):
    folder = digits_folder(tmp_path / "real", 90)
    asked = [
        "eval",
        "teacher:edm-digits",
        "--eval-samples",
        "130",
        "--eval-repeats",
        "1",
        "--batch",
        "64",
        "--format",
        "json",
    ]
    asked += ["--metrics", "fid,recall", "--reference", folder]
    alone = json.loads(bench(*asked)[1])["metrics"]
    done = processes(2, *asked)
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)["metrics"]
    for name, metric in alone.items():
        assert together[name]["value"] == pytest.approx(metric["value"], abs=1e-6), name


def test_what_takes_one_process_refuses_several(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (
        ["compare", "--methods", "sid", "--teacher", "edm-digits"],
        ["stats", "digits", "-o", str(tmp_path / "r.safetensors")],
    ):
        code, _, err = bench(*command)
        assert code == 2
        assert "takes one process, 2 were started" in err
