"""Discriminators that read the encoder of a denoiser: their heads, and the logistic losses."""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import Teacher, UsageError


def loss_as_real(logits: Tensor) -> Tensor:
    """``-log p(real)`` of each logit: small where the discriminator takes images for real."""
    return F.softplus(-logits)


def loss_as_fake(logits: Tensor) -> Tensor:
    """``-log p(fake)`` of each logit: small where the discriminator takes images for generated."""
    return F.softplus(logits)


class Head(nn.Sequential):
    """From an encoder's features (N, channels, size, size) to one logit for each image, (N,).

    It is the head of DMD2 (Yin et al., NeurIPS 2024) for the 8x8 features of EDM's networks: 4x4
    convolutions of strides 2 and 4, each with group normalisation and SiLU, then a 1x1 convolution.
    Features of one place have a 1x1 convolution in their stead.
    """

    def __init__(self, channels: int, size: int) -> None:
        layers: list[nn.Module] = []
        while size > 1 or not layers:
            kernel, stride, padding = (4, 2, 1) if size > 4 else (size, size, 0)
            norm = nn.GroupNorm(math.gcd(32, channels), channels)
            layers += [nn.Conv2d(channels, channels, kernel, stride, padding), norm, nn.SiLU()]
            size //= stride
        super().__init__(*layers, nn.Conv2d(channels, 1, 1), nn.Flatten(0))


def feature_shape(teacher: Teacher) -> tuple[int, int]:
    """Channels and size of the features that the encoder of the teacher's network gives.

    Raises UsageError for a network without an encoder.
    """
    network: Any = teacher.denoiser
    if not hasattr(getattr(network, "model", None), "encode"):
        raise UsageError(
            f"the network of {type(teacher).__name__} has no encoder that a discriminator could "
            "read; choose another teacher, or a method without one."
        )
    nothing = next(network.parameters()).new_zeros(1, *teacher.image_spec.shape)
    shape = network.features(nothing, 1.0).shape
    return shape[1], shape[2]
