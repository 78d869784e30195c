"""``--dry-run`` downloads nothing: what is not at hand costs the same with random weights."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

import bench.files.download
from bench.errors import UsageError
from bench.files.assets import UNKNOWN, Asset, Withheld, at_hand, dry_run, fetch
from bench.runs.recipe import make_request
from bench.training import estimate
from bench.training.estimate import estimate_run
from methods.parts.distance import LPIPS
from teachers.edm import EDMCifar10, EDMTeacher
from teachers.networks.config import NetworkConfig
from tests.helpers.plugins import plugin
from tests.helpers.tiny_network import TINY

SMALL = NetworkConfig.checked(TINY | {"img_resolution": 32, "img_channels": 3}, "here")
RUN = ("run", "--teacher", "edm-cifar10", "--budget", "images=1k", "--set", "batch=4")


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    """The network is allowed, and whoever downloads is at fault."""
    monkeypatch.delenv("BENCH_OFFLINE")
    monkeypatch.setattr(estimate, "_TIMED_ITERATIONS", 1)
    monkeypatch.setattr(
        bench.files.download, "download", lambda url, *_: pytest.fail(f"{url} is downloaded")
    )


@pytest.fixture
def small(monkeypatch):
    """A CIFAR-10 teacher of a few thousand weights."""
    monkeypatch.setattr(EDMCifar10, "network", SMALL)
    monkeypatch.setattr(EDMCifar10, "augment", None)


def test_a_file_that_is_not_there_is_withheld_and_listed_once():
    asset = Asset("it", "it.pkl", "https://nowhere.invalid/it.pkl", "MIT", "its page", note="3 MB")
    with dry_run() as missing:
        with pytest.raises(Withheld, match=r"it.pkl of it is not in the cache, and a dry run downloads"):
            fetch(asset)
        assert at_hand(asset) is None
        assert missing == [asset]
        asset.path.parent.mkdir(parents=True)
        asset.path.write_bytes(b"it")
        assert at_hand(asset) == fetch(asset) == asset.path
    asset.path.unlink()
    with pytest.raises(pytest.fail.Exception, match=r"it\.pkl is downloaded"):
        fetch(asset)


@pytest.mark.parametrize("method", ["sid", "ect", "dmd2"])
def test_the_operations_are_those_with_the_weights(tmp_path, small, method):
    settings = {"batch": 4}
    fields = {"method": method, "teacher": "edm-cifar10", "settings": settings, "budget": "images=1k"}
    without = estimate_run(make_request(**fields))
    file = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(SMALL.build().state_dict(), file)
    given = estimate_run(make_request(**fields, teacher_path=str(file)))
    assert without.cost.totals["flops"] == given.cost.totals["flops"] > 0
    names = [asset.file for asset in without.missing]
    assert names[0] == "edm-cifar10-32x32-uncond-vp.pkl"
    assert names[1:] == [asset.file for asset in given.missing]
    assert any(name.startswith("pt_inception") for name in names)
    assert ("cifar-10-python.tar.gz" in names) == (method in ("ect", "dmd2"))
    assert without.run_id == given.run_id == UNKNOWN
    assert without.recipe.teacher_digest == UNKNOWN != given.recipe.teacher_digest


def test_lpips_costs_the_same_without_its_weights(small):
    fields = {"method": "kd", "teacher": "edm-cifar10", "budget": "updates=1", "eval": []}
    settings = {"batch": 1, "pairs": 50, "pair_steps": 2}
    lpips, l2 = (
        estimate_run(make_request(**fields, settings=settings | {"distance": distance}))
        for distance in ("lpips", "l2")
    )
    images = torch.zeros(1, 3, 32, 32)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        LPIPS(None, None)(images, images)
    assert lpips.cost.totals["flops"] - l2.cost.totals["flops"] > counter.get_total_flops() > 0
    assert {asset.id for asset in lpips.missing} - {asset.id for asset in l2.missing} == {
        "vgg16",
        "vgg16-lpips",
    }


def test_a_released_generator_to_start_from_is_not_fetched(small):
    request = make_request(
        method="sid2a",
        teacher="edm-cifar10",
        settings={"batch": 4, "start": "released:sid-cifar10-alpha1.0"},
        budget="images=1k",
        eval=[],
    )
    assert "sid-cifar10-alpha1.0" in [asset.id for asset in estimate_run(request).missing]


def test_the_command_says_what_the_run_will_fetch(bench, tmp_path, small):
    out = bench.ok(*RUN, "--method", "sid", "--dry-run").out
    last = out.strip().splitlines()[-1]
    assert last.startswith("nothing was downloaded for this estimate; the run will fetch ")
    assert "edm-cifar10-32x32-uncond-vp.pkl (about 223 MB)" in last
    assert "pt_inception-2015-12-05-6726825d.pth (96 MB)" in last
    assert f"run id             {UNKNOWN}" in out
    grid = ["--methods", "sid,ect", "--teacher", "edm-cifar10", "--budget", "images=1k", "--seeds", 1]
    out = bench.ok("compare", *grid, "--set", "batch=4", "--dry-run").out
    last = out.strip().splitlines()[-1]
    assert last.count("edm-cifar10-32x32-uncond-vp.pkl") == 1
    assert "cifar-10-python.tar.gz" in last
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_what_is_at_hand_is_used_and_nothing_is_said(bench):
    out = bench.ok("run", "--method", "sid", "--teacher", "edm-digits", "--dry-run").out
    assert "downloaded" not in out
    assert re.search(r"run id +sid-edm-digits-s0-", out)


LATE = """
from bench.plugin import Asset, Teacher, fetch, register_teacher
from bench.plugin import ImageSpec, NoiseLevels, Sampler

@register_teacher("in-its-file")
class InItsFile(Teacher):
    image_spec, noise, sampler = ImageSpec(1, 8), NoiseLevels(), Sampler(4)
    dataset, protocol = "digits", "digits-5k"
    assets = (Asset("in-its-file", "net.pt", "https://nowhere.invalid/net.pt", "MIT", "its page"),)
    def load(self, path):
        return fetch(self.assets[0])
"""


def test_a_network_that_only_its_file_knows_is_one_sentence(bench, tmp_path):
    file = plugin(tmp_path, LATE)
    code, _, err = bench(
        "run", "--method", "sid", "--teacher", "in-its-file", "--plugin", file, "--dry-run"
    )
    assert code == 2
    assert "net.pt of in-its-file is not in the cache, and a dry run downloads nothing" in err
    assert "`bench fetch teacher:in-its-file method:sid`" in err


def test_a_repository_that_is_not_in_the_hubs_cache_is_one_sentence(monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.setenv("HF_HUB_CACHE", "/nonexistent")
    request = make_request(method="sid", teacher="diffusers:some/model", budget="images=1k", eval=[])
    with pytest.raises(UsageError, match="a dry run downloads nothing; `bench fetch teacher:diffusers:"):
        estimate_run(request)


def test_the_sizes_that_are_said_are_those_of_the_networks():
    for teacher in EDMTeacher.__subclasses__():
        numbers = sum(t.numel() for t in teacher.network.on_meta().state_dict().values())
        said = teacher.weights.note.removeprefix("about ")
        size = 4 * numbers
        assert said == (f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB")
