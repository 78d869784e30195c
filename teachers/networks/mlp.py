"""A residual multilayer perceptron on flattened images: the network of the embedded teachers."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import Encoded
from teachers.networks.unet import Linear


class ResidualMLP(nn.Module):
    """A network F(x; c_noise) for EDM preconditioning: residual blocks conditioned on the noise level.

    Args:
        channels, resolution: of the images in and out, (N, channels, resolution, resolution).
        width: of the residual stream and of the hidden layers.
        blocks: number of residual blocks.
        frequencies: number of Fourier features of the noise level, spaced geometrically from 1/8 to
            8 turns per unit.
        dropout: probability of dropping a hidden unit in training mode.
    """

    frequencies: Tensor

    def __init__(
        self,
        channels: int,
        resolution: int,
        width: int,
        blocks: int,
        frequencies: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = (channels, resolution, resolution)
        size = channels * resolution**2
        self.register_buffer(
            "frequencies", torch.logspace(-3, 3, frequencies, base=2) * 2 * math.pi, persistent=False
        )
        self.first = Linear(size, width)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, 2 * frequencies, dropout) for _ in range(blocks)
        )
        self.last = Linear(width, size)
        nn.init.zeros_(self.last.weight)  # D(y) = c_skip y at initialisation, as in EDM
        nn.init.zeros_(self.last.bias)

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
        """Compute all blocks but the last."""
        angles = c_noise[:, None] * self.frequencies.to(c_noise.dtype)
        embedding = torch.cat([angles.cos(), angles.sin()], dim=1)
        h = self.first(x.flatten(1))
        for block in self.blocks[:-1]:
            h = block(h, embedding)
        return Encoded(h, embedding, [])

    def decode(self, encoded: Encoded) -> Tensor:
        """Compute the last block and the images."""
        h = self.last(self.blocks[-1](encoded.features, encoded.embedding))
        return h.unflatten(1, self.shape)


class ResidualBlock(nn.Module):
    """Residual block ``h + second(dropout(silu(first(norm(h)) + noise(embedding))))``."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.first = Linear(width, width)
        self.noise = Linear(embedding, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.second = Linear(width, width)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return h + self.second(
            self.dropout(F.silu(self.first(self.norm(h)) + self.noise(embedding).to(h.dtype)))
        )


class LayerNorm(nn.LayerNorm):
    """Layer normalisation in the type of ``x``."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps
        )
