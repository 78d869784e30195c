"""``bench doctor``: each problem is found where it is, and comes with its cure."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch

from bench.cli import diagnosis
from bench.files.atomic import sha256
from bench.registry import teachers
from bench.runs.store import results_folder


def problems(findings):
    """What is not sound, by what was looked at."""
    return {found.what: f"{found.text} -> {found.cure}" for found in findings if not found.sound}


@pytest.fixture
def gpu_machine(tmp_path, monkeypatch):
    """A driver of NVIDIA on a machine whose torch sees no GPU."""
    driver = tmp_path / "version"
    driver.write_text("NVRM version")
    monkeypatch.setattr(diagnosis, "DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def test_a_torch_without_cuda_on_a_machine_with_a_gpu(gpu_machine):
    gpu_machine.setattr(torch.version, "cuda", None)
    said = problems(diagnosis.installation())["devices"]
    assert "is built without CUDA -> install a build of torch with CUDA" in said


def test_a_driver_too_old_for_torch_and_gpus_that_are_hidden(gpu_machine):
    gpu_machine.setattr(torch.version, "cuda", "13.0")
    assert "for CUDA 13.0 finds no GPU -> compare" in problems(diagnosis.installation())["devices"]
    gpu_machine.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "-> unset CUDA_VISIBLE_DEVICES" in problems(diagnosis.installation())["devices"]


def test_a_machine_without_a_gpu_is_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "DRIVER", tmp_path / "none")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert problems(diagnosis.installation()) == {}


def test_a_torchvision_of_another_torch(monkeypatch):
    monkeypatch.setattr(diagnosis, "requires", lambda name: ["numpy", "torch (==1.2.3)"])
    said = problems(diagnosis.installation())["torchvision"]
    assert f"needs torch==1.2.3, installed is {torch.__version__.partition('+')[0]}" in said
    assert said.endswith("pip install --upgrade torch torchvision")

    def fails(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(diagnosis, "requires", lambda name: None)
    monkeypatch.setattr(diagnosis, "import_module", fails)
    assert "torchvision::nms does not exist" in problems(diagnosis.installation())["torchvision"]


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(diagnosis, "PACKAGES", ("no-such-package",))
    said = problems(diagnosis.installation())
    assert said["no-such-package"] == "is not installed -> reinstall distill-bench"


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    said = problems(diagnosis.folders(tmp_path / "file" / "runs"))
    assert "cannot write to the results folder" in said["results"]
    assert "-> give --results another folder" in said["results"]
    assert "-> set BENCH_CACHE to another folder" in said["cache"]


def test_the_embedded_teacher_is_ready_and_little_disk_or_memory_is_said(bench, monkeypatch):
    assert problems(diagnosis.readiness("edm-digits", results_folder())) == {}
    assert not results_folder().exists()  # nothing is written by looking
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10_000))
    monkeypatch.setattr(diagnosis, "free_memory", lambda device: 20_000)
    code, out, _ = bench("doctor", "--teacher", "edm-digits")
    assert code == 1
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("FAIL")}
    assert "10kB are free" in lines["disk"]
    assert "a run take 13.4MB -> make room" in lines["disk"]
    assert "20kB are free on" in lines["memory"]
    assert "a run holds 5.15MB and batches -> use a larger machine" in lines["memory"]
    found = bench("doctor", "--teacher", "edm-digits", "--format", "json")[1]
    assert '"sound": false' in found


def test_weights_that_are_missing_or_damaged_and_their_cure(monkeypatch):
    asset = teachers.get("edm-cifar10").weights
    monkeypatch.setattr(diagnosis, "files_of", lambda kind, name: (asset,))
    said = problems(diagnosis.readiness("edm-cifar10", results_folder()))["file"]
    assert "is not in the cache -> unset BENCH_OFFLINE, and bench fetch teacher:edm-cifar10" in said
    monkeypatch.setenv("BENCH_OFFLINE", "0")
    asset.path.parent.mkdir(parents=True)
    asset.path.write_bytes(b"as it was fetched")
    asset.record.write_text(f"{sha256(asset.path)}  {asset.file}\n")
    asset.path.write_bytes(b"as it is")
    said = problems(diagnosis.readiness("edm-cifar10", results_folder()))["file"]
    assert "in the cache is not the right one (its SHA-256 is" in said
    assert said.endswith("-> bench fetch teacher:edm-cifar10")
    asset.record.write_text("")
    said = problems(diagnosis.readiness("edm-cifar10", results_folder()))["file"]
    assert "is damaged" in said
    assert f"-> remove {asset.record}, and bench fetch" in said
    asset.record.unlink()  # a file that was cut short before its digest was recorded
    said = problems(diagnosis.readiness("edm-cifar10", results_folder()))["weights"]
    assert "-> bench fetch teacher:edm-cifar10" in said


def test_an_unknown_teacher(bench):
    code, _, err = bench("doctor", "--teacher", "edm-digit")
    assert code == 2
    assert "did you mean 'edm-digits'?" in err
