"""The resizes against the libraries that define them, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from evals.resize import clean, half_pixel, resize, tensorflow

SIZES = [(1, 1), (2, 3), (28, 28), (32, 32), (64, 64), (299, 299), (300, 298), (512, 512), (511, 777)]
KERNELS = [tensorflow, half_pixel, clean]


def noise(height: int, width: int, n: int = 2, channels: int = 3) -> torch.Tensor:
    """Pixels that differ as much as they can from their neighbours."""
    random = torch.Generator().manual_seed(1000 * height + width)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=random)


def by_clean_fid(images: torch.Tensor, mode: str) -> torch.Tensor:
    from cleanfid.resize import build_resizer

    resized = [build_resizer(mode)(image.permute(1, 2, 0).numpy()) for image in images]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape and a.dtype == torch.float32
    return (a - b).abs().max().item()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tensorflow_equals_torch_fidelity(height, width):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    images = noise(height, width)
    theirs = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    assert worst(resize(images, tensorflow), theirs) < 1e-4


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clean_equals_clean_fid(height, width):
    images = noise(height, width)
    assert worst(resize(images, clean), by_clean_fid(images, "clean")) < 1e-4


@pytest.mark.filterwarnings("default")  # clean-fid switches warnings off
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_half_pixel_equals_clean_fid_as_nearly_as_torch_equals_itself(height, width):
    """torch's kernels for one thread and for several differ by up to 0.001 of a level; the first is
    5e-5 from this.
    """
    images = noise(height, width)
    assert worst(resize(images, half_pixel), by_clean_fid(images, "legacy_pytorch")) < 1e-3


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 48), (50, 7), (9, 224)])
def test_other_sizes_than_299(inputs, outputs):
    images = noise(inputs, inputs)
    theirs = F.interpolate(images.float(), (outputs, outputs), mode="bilinear", align_corners=False)
    assert worst(resize(images, half_pixel, outputs), theirs) < 1e-3
    planes = [
        [Image.fromarray(plane.float().numpy()).resize((outputs, outputs), Image.BICUBIC) for plane in x]
        for x in images
    ]
    theirs = torch.from_numpy(np.array([[np.asarray(plane) for plane in x] for x in planes])).clamp(
        0, 255
    )
    assert worst(resize(images, clean, outputs), theirs) < 1e-4


@settings(max_examples=30)
@given(kernel=st.sampled_from(KERNELS), inputs=st.integers(1, 700), outputs=st.integers(1, 400))
def test_the_weights_of_every_pixel_add_up_to_one(kernel, inputs, outputs):
    matrix = kernel(inputs, outputs)
    assert matrix.shape == (outputs, inputs) and matrix.dtype == torch.float64
    torch.testing.assert_close(
        matrix.sum(1), torch.ones(outputs, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_image_of_the_right_size_stays_as_it_is(kernel):
    images = noise(299, 299)
    torch.testing.assert_close(resize(images, kernel), images.float(), rtol=0, atol=0)


def test_positions_on_a_ramp():
    """On an image whose pixels are their own column, bilinear gives the position that it samples."""
    ramp = torch.arange(32, dtype=torch.uint8).expand(1, 1, 32, 32)
    i = torch.arange(299)
    torch.testing.assert_close(
        resize(ramp, tensorflow)[0, 0, 7], (i * 32 / 299).clamp(0, 31), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        resize(ramp, half_pixel)[0, 0, 7], ((i + 0.5) * 32 / 299 - 0.5).clamp(0, 31), rtol=0, atol=1e-5
    )
    assert (resize(ramp.mT, tensorflow)[0, 0, :, 7] - (i * 32 / 299).clamp(0, 31)).abs().max() < 1e-5


def test_clean_overshoots_at_an_edge_and_is_clipped():
    edge = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    edge[..., 16:] = 255
    unclipped = clean(32, 299) @ edge[0, 0].double() @ clean(32, 299).T
    assert unclipped.min() < -10 and unclipped.max() > 265
    resized = resize(edge, clean)
    assert resized.min() == 0 and resized.max() == 255
    assert worst(resized[0, 0], unclipped.clamp(0, 255).float()) < 1e-4


@pytest.mark.parametrize("kernel", KERNELS)
def test_images_and_channels_do_not_touch(kernel):
    images = noise(48, 40, n=3)
    apart = [[resize(plane[None, None], kernel)[0, 0] for plane in image] for image in images]
    assert worst(resize(images, kernel), torch.stack([torch.stack(image) for image in apart])) < 1e-4
    shuffled = images.flip(0).contiguous(memory_format=torch.channels_last)
    assert worst(resize(shuffled, kernel), resize(images, kernel).flip(0)) < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kernel", KERNELS)
def test_on_a_gpu_it_is_exact_even_where_tf32_is_allowed(kernel, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    images = noise(64, 64)
    assert worst(resize(images.cuda(), kernel).cpu(), resize(images, kernel)) < 1e-4
    assert torch.backends.cuda.matmul.allow_tf32
