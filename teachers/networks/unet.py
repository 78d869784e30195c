"""The parts that EDM's two U-Nets share: layers, resampling, the residual block, and both halves.

Names follow the published checkpoints, so that their state dicts fit. Layers compute in the number
type of their input: parameters stay in float32 and are cast where they are used, so that a
half-precision input gives half-precision convolutions with float32 master weights.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import Encoded

Resampling = Literal["up", "down"]


class Linear(nn.Linear):
    """Linear layer ``x W^T + b`` in the type of ``x``."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class GroupNorm(nn.GroupNorm):
    """Group normalisation in the type of ``x``, with ``channels / 4`` groups and at most 32."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(min(32, channels // 4), channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class Resample(nn.Module):
    """Doubles or halves the resolution of (N, C, H, W) by a separable filter, the same for each channel.

    The filter [1, 1] duplicates pixels, or averages squares of four.
    """

    resample_filter: Tensor

    def __init__(self, resampling: Resampling, taps: Sequence[float]) -> None:
        super().__init__()
        self.resampling = resampling
        self.register_buffer("resample_filter", separable(taps))

    def forward(self, x: Tensor) -> Tensor:
        return resample(x, self.resample_filter, self.resampling)


class Conv2d(nn.Conv2d):
    """Convolution in the type of ``x``, zero-padded to keep the size, after any resampling."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        resampling: Resampling | None = None,
        taps: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.resampling = resampling
        if resampling is not None:
            self.register_buffer("resample_filter", separable(taps))

    def forward(self, x: Tensor) -> Tensor:
        if self.resampling is not None:
            x = resample(x, self.resample_filter, self.resampling)
        return self.convolve(x, self.kernel_size[0] // 2)

    def convolve(self, x: Tensor, padding: int) -> Tensor:
        """Apply the convolution alone."""
        return F.conv2d(
            x,
            self.weight.to(x.dtype),
            None if self.bias is None else self.bias.to(x.dtype),
            padding=padding,
        )


class FusedDownConv2d(Conv2d):
    """Convolution and then the filter at stride 2, all padding before both: NCSN++'s residual input."""

    def forward(self, x: Tensor) -> Tensor:
        margin = (self.resample_filter.shape[-1] - 1) // 2
        x = self.convolve(x, self.kernel_size[0] // 2 + margin)
        return F.conv2d(x, _depthwise(self.resample_filter, x), groups=x.shape[1], stride=2)


def separable(taps: Sequence[float]) -> Tensor:
    """Return the normalised outer product of a filter with itself, (1, 1, K, K)."""
    row = torch.tensor([float(t) for t in taps], device="cpu")  # with values even in a network on meta
    return (row[:, None] * row / row.sum() ** 2)[None, None]


def resample(x: Tensor, kernel: Tensor, resampling: Resampling) -> Tensor:
    """Double or halve the resolution of ``x`` (N, C, H, W) by the filter ``kernel`` (1, 1, K, K)."""
    padding, weight = (kernel.shape[-1] - 1) // 2, _depthwise(kernel, x)
    if resampling == "up":
        return F.conv_transpose2d(x, 4 * weight, groups=x.shape[1], stride=2, padding=padding)
    return F.conv2d(x, weight, groups=x.shape[1], stride=2, padding=padding)


def _depthwise(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.to(x.dtype).expand(x.shape[1], -1, -1, -1)


class PositionalEmbedding(nn.Module):
    """Cosines and sines of the noise label (N,) at geometrically spaced frequencies, (N, channels).

    With ``endpoint`` the lowest frequency is exactly 1/10000.
    """

    def __init__(self, channels: int, *, endpoint: bool) -> None:
        super().__init__()
        self.frequencies, self.endpoint = channels // 2, endpoint

    def forward(self, label: Tensor) -> Tensor:
        position = torch.arange(self.frequencies, dtype=torch.float32, device=label.device) / (
            self.frequencies - self.endpoint
        )
        # The frequencies are computed in float32 in any case.
        angles = torch.outer(label, ((1 / 10_000) ** position).to(label.dtype))
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """Cosines and sines of the noise label (N,) at random frequencies, (N, channels)."""

    freqs: Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * scale)

    def forward(self, label: Tensor) -> Tensor:
        angles = torch.outer(label, (2 * math.pi * self.freqs).to(label.dtype))
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class UNetBlock(nn.Module):
    """A residual block conditioned on the noise level, with optional resampling and self-attention.

    The output is ``skip_scale * (skip(x) + h)`` with ``h =
    conv1(dropout(silu(norm1(conv0(silu(norm0(x)))))))``, where the embedding acts at ``norm1``.
    Attention then adds to that output in the same way.

    Args:
        inputs, outputs: numbers of channels.
        embedding: size of the noise embedding.
        resampling: doubles or halves the resolution in ``conv0`` and in the skip.
        taps: of the resampling filter.
        attend: whether the block has self-attention.
        channels_per_head: of the attention, which is left out of a block of fewer; None for one head.
        dropout: probability in training mode.
        skip_scale: factor of the sum of block and skip; ``sqrt(1/2)`` keeps the variance.
        eps: of the group normalisations.
        project_skip: whether resampling skips have a 1x1 convolution even for equal numbers of
            channels.
        adaptive: whether the embedding scales and shifts the normalised ``h``, or is added before
            ``norm1``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        resampling: Resampling | None = None,
        taps: Sequence[float] = (1, 1),
        attend: bool = False,
        channels_per_head: int | None = None,
        dropout: float = 0.0,
        skip_scale: float = 1.0,
        eps: float = 1e-5,
        project_skip: bool = True,
        adaptive: bool = True,
    ) -> None:
        super().__init__()
        self.inputs, self.skip_scale, self.adaptive = inputs, skip_scale, adaptive
        self.heads = outputs // (channels_per_head or outputs) if attend else 0
        self.norm0 = GroupNorm(inputs, eps)
        self.conv0 = Conv2d(inputs, outputs, 3, resampling, taps)
        self.affine = Linear(embedding, outputs * (2 if adaptive else 1))
        self.norm1 = GroupNorm(outputs, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = Conv2d(outputs, outputs, 3)
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs or (resampling and project_skip):
            self.skip = Conv2d(inputs, outputs, 1, resampling, taps)
        elif resampling:
            self.skip = Resample(resampling, taps)
        if self.heads:
            self.norm2 = GroupNorm(outputs, eps)
            self.qkv = Conv2d(outputs, 3 * outputs, 1)
            self.proj = Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        condition = self.affine(embedding)[:, :, None, None].to(h.dtype)
        if self.adaptive:
            scale, shift = condition.chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = F.silu(self.norm1(h + condition))
        h = (self.conv1(self.dropout(h)) + self.skip(x)) * self.skip_scale
        return (
            (self.proj(self.attention(self.qkv(self.norm2(h)))) + h) * self.skip_scale
            if self.heads
            else h
        )

    def attention(self, qkv: Tensor) -> Tensor:
        """Attend from each pixel to all: (N, 3C, H, W) to (N, C, H, W).

        Input channels are ordered by head, then channel in the head, then query, key and value.
        """
        n, channels, height, width = qkv.shape
        q, k, v = (
            qkv.reshape(n, self.heads, channels // 3 // self.heads, 3, height * width)
            .transpose(2, 4)
            .unbind(3)
        )
        return (
            F.scaled_dot_product_attention(q, k, v)
            .transpose(2, 3)
            .reshape(n, channels // 3, height, width)
        )


class UNet(nn.Module, ABC):
    """A network F(x; c_noise) of a falling half ``enc`` and a rising half ``dec``, joined by skips."""

    def build_halves(
        self,
        block: Callable[..., UNetBlock],
        resolution: int,
        in_channels: int,
        first: int,
        channels: Sequence[int],
        num_blocks: int,
        attn_resolutions: Collection[int],
        attending: Collection[int],
        residual_taps: Sequence[float] | None = None,
    ) -> None:
        """Build both halves, from the images' resolution to the lowest one and back.

        Args:
            block: makes a block from its channels in and out, and perhaps ``attend`` and
                ``resampling``.
            resolution: of the images; level i has ``resolution / 2^i``.
            in_channels: of the images.
            first: channels of the first convolution.
            channels: of each level.
            num_blocks: of each level of ``enc``; ``dec`` has one more, for one more skip.
            attn_resolutions: resolutions at which blocks attend.
            attending: numbers of the blocks of a level of ``dec`` that do so.
            residual_taps: filter with which smaller images are added at each level, as in NCSN++;
                None for no such images.
        """
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        skips, c, c_aux = [], first, in_channels
        for level, width in enumerate(channels):
            size = resolution >> level
            if level == 0:
                self.enc[f"{size}x{size}_conv"] = Conv2d(in_channels, c, 3)
            else:
                self.enc[f"{size}x{size}_down"] = block(c, c, resampling="down")
                if residual_taps:
                    aux = FusedDownConv2d(c_aux, c, 3, "down", residual_taps)
                    self.enc[f"{size}x{size}_aux_residual"] = aux
                    c_aux = c
            skips.append(c)
            for i in range(num_blocks):
                self.enc[f"{size}x{size}_block{i}"] = block(c, width, attend=size in attn_resolutions)
                c = width
                skips.append(c)
        for level, width in reversed(list(enumerate(channels))):
            size = resolution >> level
            if level == len(channels) - 1:
                self.dec[f"{size}x{size}_in0"] = block(c, c, attend=True)
                self.dec[f"{size}x{size}_in1"] = block(c, c)
            else:
                self.dec[f"{size}x{size}_up"] = block(c, c, resampling="up")
            for i in range(num_blocks + 1):
                attend = size in attn_resolutions and i in attending
                self.dec[f"{size}x{size}_block{i}"] = block(c + skips.pop(), width, attend=attend)
                c = width

    @abstractmethod
    def embed(self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """Embed noise level, class and augmentation as one vector, (N, embedding)."""

    def rising_layers(self) -> Iterable[nn.Module]:
        """Return the blocks of the rising half in their order, then its last norm and convolution."""
        return self.dec.values()

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
        """Compute the falling half, up to the decoder."""
        embedding = self.embed(c_noise, labels, augment_labels)
        skips: list[Tensor] = []
        aux = x
        for layer in self.enc.values():
            if isinstance(layer, FusedDownConv2d):
                x = skips[-1] = aux = (x + layer(aux)) / math.sqrt(2)
            else:
                x = layer(x, embedding) if isinstance(layer, UNetBlock) else layer(x)
                skips.append(x)
        return Encoded(x, embedding, skips)

    def decode(self, encoded: Encoded) -> Tensor:
        """Compute the rising half, up to F.

        A block that expects more channels takes the next skip, the last one first.
        """
        *blocks, norm, conv = self.rising_layers()
        x, skips = encoded.features, list(encoded.skips)
        for block in blocks:
            if block.inputs != x.shape[1]:
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x, encoded.embedding)
        out: Tensor = conv(F.silu(norm(x)))
        return out
