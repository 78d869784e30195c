"""EDM's non-leaking augmentation: the network receives labels of what was done to its training images.

With labels of zero it makes images to which nothing was done. Karras et al. 2022, section 5 and
appendix F.2; the geometry follows Karras et al., "Training Generative Adversarial Networks with
Limited Data" (NeurIPS 2020, arXiv 2006.06676, appendix B).
"""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

_SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""The low-pass filter of the orthonormal Symlet with 12 taps."""
_MARGIN = len(_SYM6) // 4
"""Reach of the filter around an image, in pixels at the image's resolution."""
_SCALE, _SHIFT = 0.2, 0.125
"""Standard deviations of the binary logarithm of a scale, and of a shift in units of the side."""


@dataclass(frozen=True)
class Transform:
    """Parameters of the transform of each image, each (N,); 0 is no transform.

    Flips are 0 or 1, angles are in radians, and the others are Gaussian.
    """

    xflip: Tensor
    yflip: Tensor
    scale: Tensor
    rotation: Tensor
    stretch: Tensor
    stretch_angle: Tensor
    shift_x: Tensor
    shift_y: Tensor

    @classmethod
    def draw(cls, images: Tensor, probability: float) -> Self:
        """Draw random transforms, each kind with ``probability``, the horizontal flip always with 1/2.

        The draws are made in EDM's order, so that the same seed gives the same transforms.
        """
        n, device = len(images), images.device
        normal = partial(torch.randn, n, device=device)
        uniform = partial(torch.rand, n, device=device)

        def coin() -> Tensor:
            return torch.randint(2, [n, 1, 1, 1], device=device).flatten().float()

        def angle() -> Tensor:
            return (uniform() * 2 - 1) * math.pi

        def applied() -> Tensor:
            return uniform() < probability

        xflip, _ = coin(), uniform()
        yflip = coin() * applied()
        scale = normal() * applied()
        rotation = angle() * applied()
        stretch, stretch_angle = normal(), angle()
        stretch, stretch_angle = stretch * applied(), stretch_angle * (uniform() < 0.5)
        shift = torch.randn(2, n, device=device) * applied()
        return cls(xflip, yflip, scale, rotation, stretch, stretch_angle, shift[0], shift[1])

    def labels(self) -> Tensor:
        """Return the labels for the network, (N, 9)."""
        along, across = self.stretch * self.stretch_angle.cos(), self.stretch * self.stretch_angle.sin()
        turned = self.rotation.cos() - 1, self.rotation.sin()
        return torch.stack(
            [self.xflip, self.yflip, self.scale, *turned, along, across, self.shift_x, self.shift_y],
            dim=1,
        )

    def matrix(self, width: int, height: int) -> Tensor:
        """Return the maps (N, 3, 3) from output to input pixels about the centre, without the flips."""
        shrink, stretch = torch.exp2(-_SCALE * self.scale), torch.exp2(_SCALE * self.stretch)
        return (
            _scaling(shrink, shrink)
            @ _turn(self.rotation)
            @ _turn(-self.stretch_angle)
            @ _scaling(1 / stretch, stretch)
            @ _turn(self.stretch_angle)
            @ _translation(-_SHIFT * width * self.shift_x, -_SHIFT * height * self.shift_y)
        )


@dataclass(frozen=True)
class AugmentPipe:
    """Augments by flips, scaling, rotation, stretching and shifting, each with ``probability``.

    The horizontal flip has probability 1/2. A call maps images (N, C, H, W) to transformed images
    of the same shape and to labels (N, 9) of the transforms.
    """

    probability: float

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        transform = Transform.draw(images, self.probability)
        matrix = transform.matrix(images.shape[-1], images.shape[-2])
        return warp(flip(images, transform), matrix), transform.labels()


def flip(images: Tensor, transform: Transform) -> Tensor:
    """Mirror the images (N, C, H, W) whose transforms have flips."""
    for axis, flags in ((3, transform.xflip), (2, transform.yflip)):
        images = torch.where(flags[:, None, None, None] == 1, images.flip(axis), images)
    return images


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    """Resample images (N, C, H, W) through maps (N, 3, 3) from output to input pixels, without aliasing.

    Images are mirrored at the edges and sampled at twice the resolution between two wavelet
    filters. EDM pads by what the batch needs, which makes the host wait for the GPU; here images
    are padded by as much as reflection allows, with the same result.
    """
    n, channels, height, width = images.shape
    x = F.pad(images, [width - 1, width - 1, height - 1, height - 1], mode="reflect")
    taps, shapes = _filter(x.dtype, x.device), ((1, 1, 1, -1), (1, 1, -1, 1))
    row, column = (taps.reshape(shape).expand(channels, -1, -1, -1) for shape in shapes)
    reach = len(_SYM6) // 2 - 1

    x = F.conv_transpose2d(x, row, groups=channels, stride=(1, 2), padding=(0, reach))
    x = F.conv_transpose2d(x, column, groups=channels, stride=(2, 1), padding=(reach, 0))
    half, one = matrix.new_full((), 0.5), matrix.new_full((), 1.0)  # no copies from the host
    matrix = _scaling(2 * one, 2 * one) @ matrix @ _scaling(half, half)
    matrix = _translation(-half, -half) @ matrix @ _translation(half, half)

    size = 2 * (height + 2 * _MARGIN), 2 * (width + 2 * _MARGIN)
    to_unit = _scaling(one * 2 / x.shape[3], one * 2 / x.shape[2])
    theta = to_unit @ matrix @ _scaling(one * size[1] / 2, one * size[0] / 2)
    grid = F.affine_grid(theta[:, :2].to(x.dtype), [n, channels, *size], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    x = F.conv2d(x, row, groups=channels, stride=(1, 2), padding=(0, reach))[:, :, :, _MARGIN:-_MARGIN]
    return F.conv2d(x, column, groups=channels, stride=(2, 1), padding=(reach, 0))[
        :, :, _MARGIN:-_MARGIN
    ]


@cache
def _filter(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the filter on a device, to which it is copied once."""
    return torch.tensor(_SYM6, dtype=dtype, device=device)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _turn(angle: Tensor) -> Tensor:
    zero, one, c, s = torch.zeros_like(angle), torch.ones_like(angle), angle.cos(), angle.sin()
    return _matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])
