"""A small convolutional U-Net for grey images of 28 pixels, fast on a CPU."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import Encoded
from teachers.networks.unet import Conv2d, Linear


class SmallUNet(nn.Module):
    """A network F(x; c_noise) for EDM preconditioning, of two resolutions.

    An image is rearranged without loss, its squares of 2x2 pixels becoming channels: 28x28 is 14x14 with
    4 channels. One residual block works there; the same rearrangement leads to the half of that
    resolution, where most of the computing is done, in wide matrix products; then all of it back.

    Args:
        channels, resolution: of the images in and out; the resolution is a multiple of 4.
        label_dim: number of classes. All labels zero, or none, is the model of all classes.
        widths: channels at half and at a quarter of the resolution.
        blocks: residual blocks at a quarter of the resolution; the first half belongs to the encoder.
        embedding: size of the embedding of noise level and class.
        dropout: probability of dropping a hidden unit in training mode.
    """

    frequencies: Tensor

    def __init__(
        self,
        channels: int,
        resolution: int,
        label_dim: int,
        widths: tuple[int, int],
        blocks: int,
        embedding: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, (outer, inner) = (channels, resolution, resolution), widths
        self.register_buffer(
            "frequencies", torch.logspace(-3, 3, 16, base=2) * 2 * math.pi, persistent=False
        )
        self.noise = Linear(32, embedding)
        self.label = Linear(label_dim, embedding, bias=False)
        self.both = Linear(embedding, embedding)
        self.first = Conv2d(4 * channels, outer, 3)
        self.falling = Block(outer, embedding, dropout)
        self.down = Conv2d(4 * outer, inner, 1)
        self.blocks = nn.ModuleList(Block(inner, embedding, dropout) for _ in range(blocks))
        self.up = Conv2d(inner, 4 * outer, 1)
        self.rising = Block(outer, embedding, dropout)
        self.last = Conv2d(outer, 4 * channels, 3)
        _zero(self.last)  # D(y) = c_skip y at initialisation, as in EDM

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
        """Compute the falling half: features (N, C, h, w) at a quarter of the resolution."""
        embedding = self.embed(c_noise, labels).to(x.dtype)
        skip = self.falling(self.first(gathered(x)), embedding)
        h = self.down(gathered(skip))
        for block in self.blocks[: len(self.blocks) // 2]:
            h = block(h, embedding)
        return Encoded(h, embedding, [skip])

    def decode(self, encoded: Encoded) -> Tensor:
        """Compute the rising half, up to the images."""
        h, (skip,) = encoded.features, encoded.skips
        for block in self.blocks[len(self.blocks) // 2 :]:
            h = block(h, encoded.embedding)
        h = self.rising(skip + F.pixel_shuffle(self.up(h), 2), encoded.embedding)
        return F.pixel_shuffle(self.last(F.silu(normalised(h))), 2)

    def embed(self, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        """Embed noise level and class as one vector, (N, embedding)."""
        angles = c_noise[:, None] * self.frequencies.to(c_noise.dtype)
        embedding = self.noise(torch.cat([angles.cos(), angles.sin()], dim=1))
        if labels is not None:
            embedding = embedding + self.label(labels.to(embedding.dtype))
        return F.silu(self.both(F.silu(embedding)))


class Block(nn.Module):
    """Residual block ``h + second(dropout(silu(first(silu(scale norm(h) + shift)))))``.

    Noise level and class scale and shift what is normalised; a new block is the identity.
    """

    def __init__(self, channels: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.affine = Linear(embedding, 2 * channels)
        self.first = Conv2d(channels, channels, 3)
        self.dropout = nn.Dropout(dropout)
        self.second = Conv2d(channels, channels, 3)
        _zero(self.second)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
        activated = F.silu(torch.addcmul(shift, normalised(h), scale + 1))
        return h + self.second(self.dropout(F.silu(self.first(activated))))


def normalised(h: Tensor) -> Tensor:
    """Normalise the channels of (N, C, H, W) at each place to mean 0 and variance 1."""
    return F.layer_norm(h.permute(0, 2, 3, 1), (h.shape[1],)).permute(0, 3, 1, 2)


def gathered(x: Tensor) -> Tensor:
    """Make channels of squares of 2x2 pixels, last in memory, as convolutions on a CPU read them best."""
    return F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
