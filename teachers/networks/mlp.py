"""A residual multilayer perceptron on flattened images: the network of the embedded teachers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualMLP(nn.Module):
    """F(x; c_noise) for EDM preconditioning: residual blocks of two linear layers, each told the noise level.

    Args:
        channels, resolution: of the images it takes and returns, (N, channels, resolution, resolution).
        width: of the residual stream and of the hidden layers.
        blocks: how many residual blocks.
        frequencies: of the noise level's Fourier features, geometrically spaced from 1/8 to 8 turns per unit.
        dropout: probability of dropping a hidden unit in training mode.
    """

    frequencies: Tensor

    def __init__(
        self, channels: int, resolution: int, width: int, blocks: int, frequencies: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        size = channels * resolution**2
        self.register_buffer("frequencies", torch.logspace(-3, 3, frequencies, base=2) * 2 * math.pi, persistent=False)
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, 2 * frequencies, dropout) for _ in range(blocks))
        self.last = nn.Linear(width, size)
        nn.init.zeros_(self.last.weight)  # D(y) = c_skip y at initialisation, as in EDM
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None) -> Tensor:
        angles = c_noise[:, None] * self.frequencies
        embedding = torch.cat([angles.cos(), angles.sin()], dim=1)
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = block(h, embedding)
        return self.last(h).view_as(x)


class ResidualBlock(nn.Module):
    """``h + second(dropout(silu(first(norm(h)) + noise(embedding))))``."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.noise = nn.Linear(embedding, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(width, width)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return h + self.second(self.dropout(F.silu(self.first(self.norm(h)) + self.noise(embedding))))
