"""Inception's features against torch-fidelity and clean-fid on equal images and weights, and what
is refused.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch

from bench.plugin import UsageError
from evals.inception import (
    AT_ONCE,
    WEIGHTS,
    CleanInception,
    Inception,
    LegacyInception,
    fold,
    inception_v3,
    load_network,
)
from tests.helpers.inception_weights import inception_tensors, write_inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    return write_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


@pytest.fixture(scope="module")
def inception(weights) -> Inception:
    return Inception(weights)


@pytest.fixture(autouse=True)
def _two_at_once(monkeypatch):
    """So that few images suffice."""
    monkeypatch.setitem(AT_ONCE, "cpu", 2)


def photos(n: int, size: int = 32, channels: int = 3) -> torch.Tensor:
    """Smooth images of all brightnesses, with some noise."""
    random = torch.Generator().manual_seed(7)
    coarse = torch.rand(n, channels, 5, 5, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (255 * (smooth + 0.1 * torch.rand(smooth.shape, generator=random)).clamp(0, 1)).to(
        torch.uint8
    )


def apart(features, others) -> float:
    """The largest difference in any feature, relative to the largest feature."""
    assert set(features) == set(others) == {"pool", "logits"}
    assert features["pool"].shape[1:] == (2048,) and features["logits"].shape[1:] == (1008,)
    return max(((features[k] - others[k]).abs().max() / others[k].abs().max()).item() for k in others)


@pytest.mark.parametrize("size", [32, 64])
def test_features_equal_those_of_torch_fidelity(inception, weights, size):
    from torch_fidelity.utils import create_feature_extractor

    theirs = create_feature_extractor(
        "inception-v3-compat",
        ["2048", "logits_unbiased"],
        cuda=False,
        feature_extractor_weights_path=str(weights),
        verbose=False,
    )
    images = photos(3, size)
    ours = inception(images)
    pool, logits = theirs(images)
    assert pool.std(0).mean() > 0.01 * pool.mean()  # the images, and so the features, do differ
    assert apart(ours, {"pool": pool, "logits": logits}) < 1e-5
    assert all(f.dtype == torch.float32 for f in ours.values())
    if size == 32:
        assert (
            apart(inception.by_others()["torch-fidelity"](images), {"pool": pool, "logits": logits})
            < 1e-7
        )


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_clean_features_equal_those_of_clean_fids_own_pipeline(weights, tmp_path):
    """The same weights as the TorchScript that clean-fid loads: a module ``layers`` from scaled
    images to features.
    """
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    class Packed(torch.nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return self.layers(x)

    packed = Packed(load_network(weights)[:-1])
    torch.jit.trace(packed, torch.zeros(1, 3, 299, 299), check_trace=False).save(
        tmp_path / "inception-2015-12-05.pt"
    )
    theirs = InceptionV3W(str(tmp_path), download=False, resize_inside=False)
    images = photos(2, 48)
    resizer = build_resizer("clean")
    resized = torch.stack(
        [torch.from_numpy(resizer(image.permute(1, 2, 0).numpy())).permute(2, 0, 1) for image in images]
    )
    extractor = CleanInception(weights)
    ours = extractor(images)
    assert (ours["pool"] - theirs(resized)).abs().max() < 1e-4 * ours["pool"].abs().max()
    assert apart(ours, extractor.by_others()["clean-fid"](images)) < 1e-5


@pytest.mark.filterwarnings("default")
def test_legacy_features_equal_those_of_pytorch_fids_formula(weights):
    images = photos(2, 40)
    resized = torch.nn.functional.interpolate(
        images / 255, (299, 299), mode="bilinear", align_corners=False
    )
    network = load_network(weights)
    pool = network[:-1](2 * resized - 1)
    extractor = LegacyInception(weights)
    ours = extractor(images)
    assert apart(ours, {"pool": pool, "logits": pool @ network.fc.weight.T}) < 1e-5
    assert apart(ours, extractor.by_others()["clean-fid"](images)) < 1e-5


def test_the_three_ways_give_different_features(inception, weights):
    images = photos(2)
    found = [
        extractor(images) for extractor in (inception, CleanInception(weights), LegacyInception(weights))
    ]
    assert all(
        apart(a, b) > 1e-3 for a, b in ((found[0], found[1]), (found[0], found[2]), (found[1], found[2]))
    )


def test_grey_images_are_repeated_to_three_channels(inception):
    grey = photos(2, channels=1)
    assert apart(inception(grey), inception(grey.expand(-1, 3, -1, -1))) < 1e-6


def test_the_batch_size_does_not_matter(inception):
    images = photos(5)
    together = inception(images)
    in_two = [inception(part) for part in images.split(3)]
    assert (
        apart(together, {name: torch.cat([part[name] for part in in_two]) for name in together}) < 1e-6
    )
    assert inception(images[:0])["pool"].shape == (0, 2048)


def test_folding_changes_nothing_but_the_last_bits(weights):
    x = torch.rand(1, 3, 75, 75, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = load_network(weights)[:-1](x)
    folded = fold(load_network(weights))
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    assert (folded[:-1](x) - before).abs().max() < 1e-5 * before.abs().max()


def test_the_names_and_shapes_are_those_of_torch_fidelitys_network(monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    monkeypatch.setattr(
        fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, tensors: None
    )
    monkeypatch.setattr(fidelity.torch, "load", lambda *_, **__: {})
    with torch.device("meta"):
        theirs = fidelity.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], "unread"
        ).state_dict()
        ours = inception_v3().state_dict()
    assert len(theirs) == 566
    assert {n: (t.shape, t.dtype) for n, t in ours.items()} == {
        n: (t.shape, t.dtype) for n, t in theirs.items()
    }


def test_the_digest_is_that_of_the_file(inception, weights):
    assert inception.digest() == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert WEIGHTS.sha256 is not None and WEIGHTS.sha256.startswith(
        WEIGHTS.file.removesuffix(".pth").rsplit("-", 1)[1]
    )


def test_the_counts_of_batches_may_be_left_out(weights, tmp_path):
    without = load_network(write_inception(tmp_path / "without.pth", counts=False)).state_dict()
    for name, tensor in load_network(weights).state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, without[name])


def test_without_the_file_and_the_network_it_says_how_to_get_it():
    with pytest.raises(
        UsageError, match=rf"{WEIGHTS.file} of .* is not in the cache, .* get it from {WEIGHTS.url}"
    ):
        Inception()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 4, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(2, 3, 0, 8, dtype=torch.uint8),
    ],
    ids=lambda images: f"{images.dtype} {tuple(images.shape)}",
)
def test_other_than_uint8_images_are_refused(inception, images):
    with pytest.raises(UsageError, match=r"takes uint8 images \(N, 1 or 3, height, width\), given"):
        inception(images)


def refused(path: Path, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        Inception(path)
    assert (
        str(caught.value).count(". ") == 0
        and str(caught.value).endswith(".")
        and len(str(caught.value)) < 600
    )


def test_a_file_cut_anywhere_is_refused(weights, tmp_path):
    cut = shutil.copy(weights, tmp_path / "cut.pth")
    for size in (weights.stat().st_size - 22, 90_000_000, 1_000_000, 1000, 3, 0):
        os.truncate(cut, size)
        refused(cut, "weights file .*(refused|neither a state dict|has 0 bytes)")


def test_a_file_with_a_changed_byte_is_refused(weights, tmp_path):
    changed = shutil.copy(weights, tmp_path / "changed.pth")
    with changed.open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)[0]
        file.seek(50_000_000)
        file.write(bytes([byte ^ 1]))
    refused(changed, "refused, and nothing in it was run: .* is damaged")


def test_a_file_of_another_network_is_refused(tmp_path):
    foreign = tmp_path / "foreign.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, foreign)
    refused(
        foreign,
        r"does not fit its network of 566 tensors: it lacks Conv2d_1a_3x3\.conv\.weight, .* too much conv1\.weight",
    )
    refused(tmp_path / "nowhere.pth", "cannot be read .* check the path")


def test_weights_of_another_shape_type_or_value_are_refused(tmp_path):
    tensors, path = inception_tensors(), tmp_path / "changed.pth"
    torch.save(
        tensors | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": tensors["fc.bias"].double()}, path
    )
    refused(
        path,
        r"of another shape or type fc\.weight \(float32 \(1000, 2048\), expected float32 \(1008, 2048\)\), fc\.bias",
    )
    tensors["Mixed_6c.branch1x1.conv.weight"][0, 0] = torch.nan
    torch.save(tensors, path)
    refused(path, r"NaN or infinite values in 'Mixed_6c\.branch1x1\.conv\.weight'")


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_the_file_is_run(tmp_path):
    payload, path = tmp_path / "made", tmp_path / "payload.pth"
    torch.save({"fc.bias": Payload(payload)}, path)
    refused(path, "refused, and nothing in it was run")
    assert not payload.exists()
    torch.load(path, weights_only=False)
    assert payload.exists()  # it would have


def test_fast_on_a_cpu_stays_in_float32(weights):
    extractor = Inception(weights)
    extractor.use_fast()
    assert next(extractor.body.parameters()).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_features_are_the_same_and_fast_ones_nearly(inception, weights):
    images = photos(4)
    exact = inception(images)
    extractor = Inception(weights).to(torch.device("cuda"))
    assert (
        apart({k: f.cpu() for k, f in extractor(images.cuda()).items()}, exact) < 1e-3
    )  # TF32 may be on
    extractor.use_fast()
    fast = extractor(images.cuda())
    assert all(f.dtype == torch.float32 for f in fast.values())
    assert apart({k: f.cpu() for k, f in fast.items()}, exact) < 1e-2
