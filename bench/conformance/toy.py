"""A small teacher of three classes with random weights: all that a method may use of a teacher, and quick.

Its network has an encoder, as a discriminator needs, computes in the type of its images, drops units where
it is told to, and is told of augmentation. What it makes are no images of anything; whether a method learns
is measured on teachers that know something.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin.dataset import InMemory
from bench.plugin.diffusion import EDMPrecond, Encoded, NoiseLevels, fork_rng
from bench.plugin.images import ImageSpec
from bench.plugin.sampler import Sampler
from bench.plugin.teacher import Teacher

WIDTH = 32
IMAGES = 64
"""Number of real images, and of pairs, that stand in for the teacher's own."""


class ToyNetwork(nn.Module):
    """``F(x; c_noise, labels)`` of one hidden layer, of images (N, C, H, W) to others like them."""

    def __init__(self, image_spec: ImageSpec) -> None:
        super().__init__()
        self.shape = image_spec.shape
        size = image_spec.channels * image_spec.resolution**2
        self.first = nn.Linear(size, WIDTH)
        self.level = nn.Linear(2, WIDTH)
        self.label = nn.Linear(max(image_spec.label_dim, 1), WIDTH, bias=False)
        self.dropout = nn.Dropout(0.0)
        self.last = nn.Linear(WIDTH, size)
        self.unlabelled = False
        """True once it was called without labels."""

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        return self.decode(self.encode(x, c_noise, labels, augment_labels))

    def encode(
        self,
        x: Tensor,
        c_noise: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Encoded:
        """Compute all but the last layer."""
        level = torch.stack([c_noise.sin(), c_noise.cos()], dim=1)
        embedding = _linear(self.level, level.to(x.dtype))
        if labels is None:
            self.unlabelled = True
        else:
            embedding = embedding + 2 * _linear(self.label, labels.to(x.dtype))
        return Encoded(F.silu(_linear(self.first, x.flatten(1)) + embedding), embedding, [])

    def decode(self, encoded: Encoded) -> Tensor:
        """Compute the images."""
        return _linear(self.last, self.dropout(encoded.features)).unflatten(1, self.shape)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """A layer in the type of its input."""
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x, layer.weight.to(x.dtype), bias)


class ToyTeacher(Teacher):
    """Three classes of 1x8x8 images, by a network of random weights."""

    image_spec = ImageSpec(channels=1, resolution=8, label_dim=3)
    noise = NoiseLevels()
    sampler = Sampler(steps=4)
    dataset = None
    protocol = None

    def load(self, path: Path | None) -> nn.Module:
        with fork_rng(torch.device("cpu")):
            torch.default_generator.manual_seed(0)
            network = ToyNetwork(self.image_spec)
            nn.init.normal_(network.label.weight)
            nn.init.normal_(network.last.weight, std=0.2)
        return EDMPrecond(network)


def toy_images() -> InMemory:
    """Real images of the toy's classes: noise, but the same each time."""
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, *ToyTeacher.image_spec.shape)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return InMemory(pixels, torch.arange(IMAGES) % ToyTeacher.image_spec.label_dim)
