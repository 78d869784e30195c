"""EDM's augmentation against the reference's images and labels on stored draws, and its statistics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from teachers.networks.augment import AugmentPipe, Transform, flip, warp
from tests.helpers.edm_reference import stored

CASES = json.loads(str(stored("augment_pipe")["cases_json"]))
PUBLISHED = [name for name in CASES if name.startswith("published")]
ONE_BY_ONE = [
    f"only_{op}" for op in ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac")
]
FIELDS = {
    "xflip": "xflip", "yflip": "yflip", "scale": "scale_w", "rotation": "rotate_theta", "stretch": "aniso_w",
    "stretch_angle": "aniso_r", "shift_x": "translate_wx", "shift_y": "translate_wy",
}  # fmt: skip


def array(case, key):
    return torch.from_numpy(stored("augment_pipe")[f"{case}/{key}"])


def transform(case, dtype=torch.float32):
    """What was done, from the fixture's effective parameters; what the case does not have is nothing."""
    there = stored("augment_pipe")
    nothing = torch.zeros(4, dtype=dtype)
    return Transform(
        **{
            f: array(case, f"eff_{e}").float().flatten().to(dtype)
            if f"{case}/eff_{e}" in there
            else nothing
            for f, e in FIELDS.items()
        }
    )


images = torch.from_numpy(stored("augment_pipe")["images"])


@pytest.mark.parametrize("case", PUBLISHED)
def test_the_same_seed_gives_the_references_images_and_labels(case):
    torch.manual_seed(CASES[case]["seed"])
    out, labels = AugmentPipe(CASES[case]["kwargs"]["p"])(images)
    torch.testing.assert_close(labels, array(case, "labels").float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(out, array(case, "out"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ONE_BY_ONE)
def test_each_operation_alone_gives_the_references_images(case):
    done = transform(case)
    out = flip(images, done)
    if f"{case}/G_inv" in stored("augment_pipe"):
        matrix = transform(case, torch.float64).matrix(32, 32)
        torch.testing.assert_close(matrix, array(case, "G_inv"), rtol=0, atol=1e-5)
        out = warp(out, matrix.float())
    torch.testing.assert_close(out, array(case, "out"), rtol=0, atol=1e-4)
    nonzero = done.labels()[:, done.labels().abs().sum(0) > 0]
    reference = array(case, "labels").float()
    torch.testing.assert_close(nonzero, reference[:, reference.abs().sum(0) > 0], rtol=0, atol=1e-6)


def test_the_labels_have_the_published_statistics():
    """At p = 0.12 over 40,960 images: how often each label is not zero, and its deviation, as the
    reference measured.
    """
    torch.manual_seed(0)
    labels = Transform.draw(torch.empty(40_960, 1, 1, 1), 0.12).labels().numpy()
    share = [0.496, 0.061, 0.120, 0.119, 0.119, 0.121, 0.061, 0.121, 0.121]
    deviation = [0.500, 0.239, 0.349, 0.405, 0.245, 0.298, 0.180, 0.356, 0.346]
    np.testing.assert_allclose((labels != 0).mean(0), share, atol=0.008)
    np.testing.assert_allclose(
        labels.std(0), deviation, atol=0.02
    )  # of rare Gaussians: 0.004 is one deviation


def test_with_probability_zero_only_the_mirror_is_left():
    torch.manual_seed(0)
    out, labels = AugmentPipe(0.0)(images.repeat(8, 1, 1, 1))
    assert (labels[:, 1:] == 0).all()
    assert 0 < labels[:, 0].mean() < 1
    mirrored = torch.where(
        labels[:, 0, None, None, None] == 1, images.repeat(8, 1, 1, 1).flip(3), images.repeat(8, 1, 1, 1)
    )
    assert (out - mirrored).abs().mean() < 0.02  # the filters alone


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("size", [32, 64])
def test_a_rotation_by_quarter_turns_is_a_permutation_of_pixels(turns, size):
    """A geometry check that no fixture decides: smooth images turn as ``rot90`` turns them."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    smooth = torch.sin(2 * x + y)[None, None]
    zero = torch.zeros(1)
    done = Transform(zero, zero, zero, torch.tensor([turns * math.pi / 2]), zero, zero, zero, zero)
    out = warp(smooth, done.matrix(size, size))
    inner = slice(4, -4)  # mirroring makes a kink at the edge
    torch.testing.assert_close(
        out[..., inner, inner], smooth.rot90(turns, (2, 3))[..., inner, inner], rtol=0, atol=0.03
    )


def test_gradients_flow_to_the_images():
    x = images.clone().requires_grad_()
    torch.manual_seed(0)
    AugmentPipe(1.0)(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0
