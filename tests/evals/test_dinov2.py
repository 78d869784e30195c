"""DINOv2 against its authors' network in EDM2's detector, at a small size; its resize against PIL;
and what it refuses.

The stored features are those of the reference implementations; the file says of which.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import evals.dinov2
from bench.environment import without_tf32
from bench.errors import UsageError
from evals.dinov2 import MEAN, STD, WEIGHTS, DINOv2, VisionTransformer
from tests.helpers import FIXTURES

with np.load(FIXTURES / "dinov2.npz", allow_pickle=False) as file:
    GOLDEN = {name: file[name] for name in file.files}
WIDTH, DEPTH, HEADS = GOLDEN["config"].tolist()
TENSORS = {
    n.removeprefix("weights/"): torch.from_numpy(w) * float(GOLDEN["unit"])
    for n, w in GOLDEN.items()
    if "weights/" in n
}
IMAGES = {
    name.removeprefix("images/"): torch.from_numpy(a) for name, a in GOLDEN.items() if "images/" in name
}
FEATURES = {
    name.removeprefix("features/"): torch.from_numpy(a)
    for name, a in GOLDEN.items()
    if "features/" in name
}


class SmallDINOv2(DINOv2):
    architecture = {"width": WIDTH, "depth": DEPTH, "heads": HEADS}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("dinov2") / "small.pth"
    torch.save(TENSORS, path)
    return path


@pytest.fixture
def extractor(weights):
    return SmallDINOv2(weights)


@pytest.fixture
def pixels(extractor):
    """What the network is given, in levels, by images."""
    extractor.network = nn.Flatten()
    return lambda images: (
        (
            extractor(images)["dinov2"].view(-1, 3, 224, 224) * torch.tensor(STD).view(3, 1, 1)
            + torch.tensor(MEAN).view(3, 1, 1)
        )
        * 255
    )


@pytest.mark.parametrize("case", IMAGES)
def test_features_are_those_of_the_reference(extractor, case):
    features = extractor(IMAGES[case])["dinov2"]
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, FEATURES[case], atol=1e-5, rtol=1e-5)


def test_names_and_shapes_are_those_of_the_published_file():
    with torch.device("meta"):
        network = VisionTransformer(**DINOv2.architecture)
    tensors = network.state_dict()
    lines = sorted(
        f"{name} {str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for name, t in tensors.items()
    )
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == GOLDEN["vitl14_names_sha256"]
    assert len(tensors) == 343
    assert sum(t.numel() for t in tensors.values()) == 304_368_640


def test_features_depend_on_every_weight_but_the_token_of_masks(extractor):
    images = IMAGES["small"][:1]
    parameters = dict(extractor.network.named_parameters())
    unmoved = []
    for name, parameter in parameters.items():
        kept = parameter.data
        parameter.data = -kept
        if (extractor(images)["dinov2"] - FEATURES["small"][:1]).abs().max() < 1e-3:
            unmoved.append(name)
        parameter.data = kept
    assert unmoved == ["mask_token"]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (224, 224), (300, 512)])
def test_images_are_resized_as_by_pil_on_floats_and_not_clipped(pixels, height, width):
    images = (torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height)) < 0.5).to(
        torch.uint8
    ) * 255
    planes = [Image.fromarray(plane.numpy()) for plane in images.float().flatten(0, 1)]
    wanted = np.stack([plane.resize((224, 224), Image.Resampling.BICUBIC) for plane in planes]).reshape(
        2, 3, 224, 224
    )
    np.testing.assert_allclose(pixels(images), wanted, atol=0.02)
    if height < 224:
        assert wanted.min() < -5 and wanted.max() > 260  # so that clipping would have been seen


def test_a_plain_image_is_normalised_by_its_channel(extractor):
    extractor.network = nn.Flatten()
    for level in (0, 1, 77, 255):
        found = extractor(torch.full((1, 3, 2, 2), level, dtype=torch.uint8))["dinov2"].view(3, -1)
        for channel, mean, std in zip(found, MEAN, STD, strict=True):
            np.testing.assert_allclose(channel, (level / 255 - mean) / std, atol=1e-5)


def test_a_grey_image_is_the_same_image_in_colour(extractor):
    grey = IMAGES["grey"]
    torch.testing.assert_close(
        extractor(grey)["dinov2"], extractor(grey.expand(-1, 3, -1, -1))["dinov2"], atol=1e-6, rtol=1e-6
    )


@settings(max_examples=15)
@given(
    count=st.integers(1, 7),
    at_once=st.integers(1, 4),
    channels=st.sampled_from(DINOv2.channels),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
)
def test_an_images_features_do_not_depend_on_the_others(
    weights, count, at_once, channels, height, width
):
    images = torch.randint(
        256, (count, channels, height, width), generator=torch.Generator().manual_seed(count)
    ).to(torch.uint8)
    extractor = SmallDINOv2(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evals.dinov2, "AT_ONCE", at_once)
        together = extractor(images)["dinov2"]
    assert together.shape == (count, WIDTH) and together.isfinite().all()
    alone = torch.cat([extractor(image[None])["dinov2"] for image in images])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)


def test_features_are_frozen_and_in_full_precision_whatever_surrounds_them(extractor):
    with torch.autocast("cpu", torch.bfloat16):
        features = extractor(IMAGES["small"])["dinov2"]
    assert not features.requires_grad and not extractor.network.training
    torch.testing.assert_close(features, FEATURES["small"], atol=1e-5, rtol=1e-5)


def relative_error(features: torch.Tensor) -> float:
    return ((features - FEATURES["small"]).norm() / FEATURES["small"].norm()).item()


def test_fast_features_on_a_processor_with_bfloat16_are_nearly_the_same(extractor, monkeypatch):
    monkeypatch.setattr(evals.dinov2, "has_bfloat16", lambda: True)
    extractor.use_fast()
    features = extractor(IMAGES["small"])["dinov2"]
    assert features.dtype == torch.float32
    assert 1e-4 < relative_error(features) < 2e-2


def test_fast_features_on_any_other_processor_are_the_same(extractor, monkeypatch):
    monkeypatch.setattr(evals.dinov2, "has_bfloat16", lambda: False)
    extractor.use_fast()
    torch.testing.assert_close(
        extractor(IMAGES["small"])["dinov2"], FEATURES["small"], atol=1e-5, rtol=1e-5
    )


def test_the_network_in_float16_is_nearly_the_same(extractor):
    with torch.autocast("cpu", torch.float16):  # what a GPU does in the fast mode
        plain = extractor.network(normalised(IMAGES["small"]))
    assert plain.dtype == torch.float32
    assert 1e-5 < relative_error(plain) < 3e-3


def normalised(images: torch.Tensor) -> torch.Tensor:
    resized = nn.functional.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True)
    return (resized / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("fast_first", [True, False])
def test_a_gpu_gives_the_same_features_and_nearly_the_same_ones_fast(extractor, fast_first):
    cuda, images = torch.device("cuda"), IMAGES["small"].to("cuda")
    with without_tf32():
        torch.testing.assert_close(
            extractor.to(cuda)(images)["dinov2"].cpu(), FEATURES["small"], atol=1e-4, rtol=1e-4
        )
    extractor.to(torch.device("cpu"))
    steps = [extractor.use_fast, lambda: extractor.to(cuda)]
    for step in steps if fast_first else steps[::-1]:
        step()
    features = extractor(images)["dinov2"]
    assert features.dtype == torch.float32
    assert 1e-5 < relative_error(features.cpu()) < 3e-3


def test_its_digest_is_that_of_its_file(extractor, weights):
    assert extractor.digest() == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_without_a_path_the_published_file_is_taken_from_the_cache(weights):
    WEIGHTS.path.parent.mkdir(parents=True)
    WEIGHTS.path.write_bytes(weights.read_bytes())
    extractor = SmallDINOv2()
    torch.testing.assert_close(
        extractor(IMAGES["grey"])["dinov2"], FEATURES["grey"], atol=1e-5, rtol=1e-5
    )
    assert extractor.digest() == WEIGHTS.digest()


def test_other_libraries_give_nothing_to_compare_with(extractor):
    assert extractor.by_others() == {}


def refusal(action, *arguments) -> str:
    """The one sentence with which a request is refused."""
    with pytest.raises(UsageError) as error:
        action(*arguments)
    text = str(error.value)
    assert text.endswith(".") and ". " not in text and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (torch.zeros(2, 3, 32, 32), "float32 (2, 3, 32, 32)"),
        (torch.zeros(2, 2, 32, 32, dtype=torch.uint8), "uint8 (2, 2, 32, 32)"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "uint8 (3, 32, 32)"),
    ],
)
def test_other_images_are_refused(extractor, images, named):
    assert named in refusal(extractor, images)


def test_a_missing_published_file_says_where_to_get_it_and_where_to_put_it():
    text = refusal(DINOv2)
    assert WEIGHTS.url in text and str(WEIGHTS.path) in text


def without(name):
    return {n: t for n, t in TENSORS.items() if n != name}


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        (without("mask_token"), "lacks mask_token"),
        (TENSORS | {"register_tokens": torch.zeros(1, 4, WIDTH)}, "has too much register_tokens"),
        (
            TENSORS | {"pos_embed": torch.zeros(1, 257, WIDTH)},
            "pos_embed (float32 (1, 257, 32), expected float32 (1, 1370, 32))",
        ),
        (TENSORS | {"norm.bias": torch.full((WIDTH,), torch.nan)}, "'norm.bias'"),
    ],
    ids=["lacks", "registers", "other grid", "not finite"],
)
def test_weights_of_another_network_are_refused(tmp_path, tensors, named):
    torch.save(tensors, tmp_path / "other.pth")
    text = refusal(SmallDINOv2, tmp_path / "other.pth")
    assert named in text and "other.pth" in text


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    assert "page.pth" in refusal(SmallDINOv2, tmp_path / "page.pth")


def test_a_missing_file_is_refused(tmp_path):
    assert "none.pth" in refusal(SmallDINOv2, tmp_path / "none.pth")
