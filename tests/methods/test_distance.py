"""Distances of images: LPIPS beside torch-fidelity's, and what a method says when its weights are
not there.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

import methods.parts.distance
from bench.errors import UsageError
from bench.plugin.images import ImageSpec
from bench.runs.recipe import make_request
from bench.training.job import make_job
from methods.parts.distance import LPIPS, distance
from teachers.digits import EDMDigits


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of the published layout with random content: torchvision's names, and LPIPS' of
    torch-fidelity.
    """
    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    features = make_layers(cfgs["D"])
    state = {f"features.{name}": t for name, t in features.state_dict().items()} | {
        "classifier.0.bias": torch.zeros(3)
    }
    torch.save(state, folder / "vgg.pth")
    channels = (64, 128, 256, 512, 512)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(channels)}
    torch.save(linear, folder / "linear.pth")
    return folder / "vgg.pth", folder / "linear.pth", features, linear


def test_lpips_is_torch_fidelitys(weights, monkeypatch):
    """On images of 224 pixels, which this suite does not resize further: the same number, and a
    gradient.
    """
    import torch_fidelity.sample_similarity_lpips as other

    vgg, linear_file, features, linear = weights
    holder = nn.Module()
    holder.features = features
    monkeypatch.setattr(other, "torchvision_load_pretrained_vgg16", lambda: holder)
    monkeypatch.setattr(other, "load_state_dict_from_url", lambda *a, **k: linear)
    theirs = other.SampleSimilarityLPIPS("lpips", sample_similarity_resize=224)
    torch.manual_seed(1)
    a, b = (torch.randint(0, 256, (2, 3, 40, 40)).float() for _ in range(2))
    ours = LPIPS(vgg, linear_file)
    x = (a / 127.5 - 1).requires_grad_(True)
    found = ours(x, b / 127.5 - 1)
    torch.testing.assert_close(found, theirs(a, b), rtol=1e-4, atol=1e-6)
    found.sum().backward()
    assert x.grad.any()
    assert ours(b, b).abs().max() == 0


def test_distances_by_pixel_are_means():
    l2, l1 = (distance(name, EDMDigits()) for name in ("l2", "l1"))
    a, b = torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), -0.5)
    assert l2(a, b).tolist() == [0.25, 0.25]
    assert l1(a, b).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("method", ["dmd", "kd", "pd", "cd"])
def test_lpips_refuses_grey_images_before_it_asks_for_its_weights(method):
    with pytest.raises(
        UsageError,
        match=r"vgg16-397923af.pth is for images of 3 channels, 'edm-digits' makes images of 1; .*l2",
    ):
        make_job(make_request(method=method, teacher="edm-digits", settings={"distance": "lpips"}))
    with pytest.raises(
        UsageError, match="LPIPS compares colour images, EDMDigits makes images of 1 channels"
    ):
        distance("lpips", EDMDigits())


def test_lpips_asks_for_its_weights_before_anything_else(monkeypatch):
    """The first of the two files, by name and address; nothing was trained or made."""
    monkeypatch.setattr(EDMDigits, "image_spec", ImageSpec(3, 8))
    with pytest.raises(UsageError, match=r"vgg16-397923af.pth of vgg16 is not in the cache.*put it at"):
        make_job(
            make_request(method="kd", teacher="edm-digits", settings={"distance": "lpips"}, eval=[])
        )


def test_lpips_of_another_layout_is_refused(tmp_path, weights):
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="does not fit its network of 26 tensors"):
        methods.parts.distance.LPIPS(tmp_path / "other.pth", weights[1])


def test_fetching_a_method_means_its_published_files(bench):
    code, _, err = bench("fetch", "method:cd")
    assert code == 1
    assert "vgg16-397923af.pth" in err
    assert "weights-vgg16-lpips.pth" in err
    err = bench.ok("fetch", "method:sid").err
    assert "needs no download" in err
