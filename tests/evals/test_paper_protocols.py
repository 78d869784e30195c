"""The papers' protocols from end to end, on files of the published layout: weights, statistics,
networks.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from bench.files.atomic import sha256
from bench.plugin import Moments
from evals import inception, protocols
from evals.inception import CleanInception, Inception, LegacyInception
from tests.helpers.edm_reference import kwargs, weights
from tests.helpers.inception_weights import write_inception
from tests.helpers.snapshot_writer import write_snapshot

N = 10
FEW = ["--eval-samples", str(N), "--batch", str(N), "--format", "json"]


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    return write_inception(tmp_path_factory.mktemp("weights") / inception.WEIGHTS.file)


@pytest.fixture
def published(inception_file, monkeypatch):
    """As after ``bench fetch``: the file is in the cache, and its digest is the one that is pinned."""
    asset = dataclasses.replace(inception.WEIGHTS, sha256=sha256(inception_file))
    monkeypatch.setattr(inception, "WEIGHTS", asset)
    for extractor in (Inception, CleanInception, LegacyInception):
        monkeypatch.setattr(extractor, "assets", (asset,))
    asset.path.parent.mkdir(parents=True)
    asset.path.symlink_to(inception_file)


def pictures(count=12, size=32):
    """Smooth images in colour."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(count, 3, 5, 5, generator=generator)
    return (torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1) * 255).to(
        torch.uint8
    )


def place_statistics(extractor, place, images):
    """What its authors would publish of these images, in the cache."""
    moments = Moments(len(images))
    with torch.no_grad():
        moments.update(extractor(images)["pool"], 0)
    statistics = moments.statistics()
    place.asset.path.parent.mkdir(parents=True)
    np.savez(place.asset.path, mu=statistics["mu"].numpy(), sigma=statistics["sigma"].numpy())
    return place.asset.path


def folder_of(images, folder):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:03d}.png")
    return str(folder)


def test_a_generator_is_measured_by_edms_protocol_and_torch_fidelity_agrees(published, bench, tmp_path):
    place_statistics(Inception(), protocols.EDM["cifar10"][0], pictures())
    network = tmp_path / "network.pkl"
    write_snapshot(network, kwargs("ddpmpp_uncond_aug"), weights("ddpmpp_uncond_aug"), "edm")
    asked = ["eval", "released:sid-cifar10-alpha1.2", "--path", str(network), *FEW]
    out, err = bench.ok(*asked, "--eval-repeats", "2")
    assert f"{N} images are not more than the 2,048 dimensions" in err
    content = json.loads(out)
    fid = content["metrics"]["fid"]
    assert fid["protocol"] == f"edm-{N}"
    assert fid["smallest"] == min(fid["values"])
    assert content["replicates"] == [0, 1]
    assert content["protocol"]["references"][0]["builder"] == "NVlabs/edm fid.py ref"
    out = bench.ok(*asked, "--eval-repeats", "1", "--cross-check", "--metrics", "is").out
    for row in json.loads(out)["cross_check"]:
        assert row["value"] == pytest.approx(content["metrics"]["is"]["values"][0], rel=1e-4)
    assert {row["features"] for row in json.loads(out)["cross_check"]} == {
        "distill-bench",
        "torch-fidelity",
    }


def test_a_reference_of_one_resize_is_refused_by_the_other(published, bench, tmp_path):
    images = pictures()
    folder = folder_of(images[:N], tmp_path / "images")
    file = place_statistics(CleanInception(), protocols.CLEAN["cifar10"][0], images)
    out = bench.ok(
        "eval", folder, "--protocol", "clean-50k", "--metrics", "fid", "--reference", "cifar10", *FEW
    ).out
    content = json.loads(out)
    assert content["metrics"]["fid"]["protocol"] == f"clean-{N}"
    assert content["protocol"]["references"][0]["builder"] == "clean-fid clean"
    code, out, err = bench(
        "eval", folder, "--protocol", "edm-50k", "--metrics", "fid", "--reference", str(file), *FEW
    )
    assert (code, out) == (2, "")
    assert (
        "of another protocol, clean-fid clean with the extractor clean; edm-10 uses the extractor inception"
        in err
    )


def test_other_weights_than_the_published_do_not_compare_with_published_statistics(
    published, bench, tmp_path, inception_file
):
    images = pictures()
    folder = folder_of(images[:N], tmp_path / "images")
    place_statistics(Inception(), protocols.EDM["cifar10"][0], images)
    other = tmp_path / "other.pth"
    tensors = torch.load(inception_file, weights_only=True)
    torch.save(tensors | {"fc.bias": tensors["fc.bias"] + 1}, other)
    asked = ["--protocol", "edm-50k", "--metrics", "fid", "--extractor-path", str(other)]
    code, out, err = bench("eval", folder, *asked, "--reference", "cifar10", *FEW)
    assert (code, out) == (2, "")
    assert f"was made with weights {sha256(inception_file)[:12]} of the extractor 'inception'" in err
    assert f"here are {sha256(other)[:12]}" in err


def test_without_the_files_it_says_what_to_get_and_leaves_nothing(bench, tmp_path):
    network = tmp_path / "network.pkl"
    write_snapshot(network, kwargs("ddpmpp_uncond_aug"), weights("ddpmpp_uncond_aug"), "edm")
    common = ["--teacher-path", str(network), "--eval-samples", str(N)]
    for command in (
        ["eval", "teacher:edm-cifar10", *common],
        ["run", "--method", "sid", "--teacher", "edm-cifar10", "--budget", "updates=1", *common],
    ):
        code, out, err = bench(*command)
        assert (code, out) == (2, "")
        assert "pt_inception-2015-12-05-6726825d.pth of inception-2015-12-05 is not in the cache" in err
        assert "https://github.com/mseitzer/pytorch-fid/releases" in err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*"))


def test_fetch_gets_all_that_a_run_needs(published, bench, monkeypatch):
    code, _, err = bench("fetch", "teacher:edm-cifar10", "--format", "json")
    assert code == 1
    assert "edm-cifar10-32x32-uncond-vp.pkl" in err
    assert "cifar10-32x32.npz" in err
    assert "inception" not in err  # which is there
