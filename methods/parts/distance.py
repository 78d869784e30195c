"""Distances of two batches of images: per pixel, and LPIPS."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import (
    Asset,
    PublishedFile,
    Teacher,
    UsageError,
    at_hand,
    load_weights,
    pixels,
    read_weights,
)

DistanceName = Literal["lpips", "l2", "l1"]
Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images in [-1, 1] to one number for each pair, (N,)."""
BY_PIXEL: dict[str, Distance] = {
    "l2": lambda a, b: (a - b).square().mean(pixels(a)),
    "l1": lambda a, b: (a - b).abs().mean(pixels(a)),
}

VGG16 = Asset(
    id="vgg16",
    file="vgg16-397923af.pth",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    licence="BSD 3-Clause (torchvision)",
    source="torchvision.models.VGG16_Weights.IMAGENET1K_V1; "
    "the file's name holds the first digits of its SHA-256",
    note="553 MB",
)
LPIPS_LINEAR = Asset(
    id="vgg16-lpips",
    file="weights-vgg16-lpips.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth",
    licence="BSD 2-Clause (richzhang/PerceptualSimilarity)",
    source="torch_fidelity/sample_similarity_lpips.py",
)


def weights_of(name: DistanceName) -> Sequence[PublishedFile]:
    """The published files that the distance of that name needs."""
    return (
        [PublishedFile(VGG16, channels=3), PublishedFile(LPIPS_LINEAR, channels=3)]
        if name == "lpips"
        else []
    )


def distance(name: DistanceName, teacher: Teacher) -> Distance:
    """Make the distance of that name for images of the teacher: by pixel, or LPIPS.

    LPIPS reads the files of ``weights_of`` and lies on the teacher's device. Raises UsageError for LPIPS
    of grey images.
    """
    if name != "lpips":
        return BY_PIXEL[name]
    if teacher.image_spec.channels != 3:
        raise UsageError(
            f"LPIPS compares colour images, {type(teacher).__name__} makes images of "
            f"{teacher.image_spec.channels} channels; use --set distance=l2."
        )
    return LPIPS(at_hand(VGG16), at_hand(LPIPS_LINEAR)).to(next(teacher.denoiser.parameters()).device)


class LPIPS(nn.Module):
    """Learned perceptual distance by VGG16 (Zhang et al., CVPR 2018), of images enlarged to 224x224
    as in DMD and CD.

    Args:
        vgg: torchvision's weights of VGG16, or None for random ones, which cost the same.
        linear: LPIPS' weights of its channels, or None.
    """

    SLICES = ((0, 4), (4, 9), (9, 16), (16, 23), (23, 30))
    """Layers of VGG16 that lead from one compared feature to the next: relu1_2, relu2_2, relu3_3,
    relu4_3, relu5_3.
    """
    CHANNELS = (64, 128, 256, 512, 512)
    """Channels of each."""

    def __init__(self, vgg: Path | None, linear: Path | None) -> None:
        super().__init__()
        from torchvision.models.vgg import cfgs, make_layers  # seconds, for those who compare by LPIPS

        features = make_layers(cfgs["D"])
        if vgg is not None:
            tensors = {
                name.removeprefix("features."): t
                for name, t in read_weights(vgg).items()
                if name.startswith("features.")
            }
            load_weights(features, tensors, f"the weights file {str(vgg)!r}")
        self.slices = nn.ModuleList(features[first:last] for first, last in self.SLICES)
        weights = (
            [torch.ones(1, channels, 1, 1) for channels in self.CHANNELS]
            if linear is None
            else [read_weights(linear)[f"lin{i}.model.1.weight"] for i in range(len(self.SLICES))]
        )
        self.weights = nn.ParameterList(weights)
        # Mean and deviation for images in [-1, 1].
        self.mean = nn.Buffer(torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.std = nn.Buffer(torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = (
            (F.interpolate(x, size=224, mode="bilinear", align_corners=False) - self.mean) / self.std
            for x in (a, b)
        )
        total = a.new_zeros(len(a))
        for layers, weight in zip(self.slices, self.weights, strict=True):
            a, b = layers(a), layers(b)
            gap = (_unit(a) - _unit(b)).square()
            total = total + F.conv2d(gap, weight).mean((1, 2, 3))
        return total


def _unit(features: Tensor) -> Tensor:
    """Features of length one at every place."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
