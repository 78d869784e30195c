"""DDPM++ and NCSN++ as EDM trains them (Song et al., "Score-Based Generative Modeling", 2021)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from teachers.networks.unet import (
    Conv2d,
    FourierEmbedding,
    GroupNorm,
    Linear,
    PositionalEmbedding,
    UNet,
    UNetBlock,
)

_EPS = 1e-6


class SongUNet(UNet):
    """The network F(x; c_noise) of EDM's "vp" files (DDPM++) and "ve" files (NCSN++).

    Args:
        img_resolution, in_channels, out_channels: of the images; each level but the first halves
            the resolution.
        label_dim: number of classes; 0 for an unconditional network.
        augment_dim: length of the augmentation label; 0 for none.
        model_channels, channel_mult: level i has ``model_channels * channel_mult[i]`` channels.
        channel_mult_emb, channel_mult_noise: sizes of the embedding and of the noise features, in
            units of ``model_channels``.
        num_blocks: residual blocks in each level of the encoder; the decoder has one more.
        attn_resolutions: resolutions at which blocks attend.
        dropout: probability in training mode.
        embedding_type: ``positional`` for DDPM++, ``fourier`` for NCSN++.
        encoder_type: ``standard`` for DDPM++, ``residual`` for NCSN++.
        resample_filter: taps of the resampling filter.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.10,
        embedding_type: Literal["positional", "fourier"] = "positional",
        channel_mult_noise: int = 1,
        encoder_type: Literal["standard", "residual"] = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__()
        self.label_dim, self.augment_dim = label_dim, augment_dim
        features, embedding = model_channels * channel_mult_noise, model_channels * channel_mult_emb

        block = partial(
            UNetBlock,
            embedding=embedding,
            taps=resample_filter,
            dropout=dropout,
            skip_scale=math.sqrt(0.5),
            eps=_EPS,
            adaptive=False,
        )
        self.map_noise = (
            PositionalEmbedding(features, endpoint=True)
            if embedding_type == "positional"
            else FourierEmbedding(features)
        )
        if label_dim:
            self.map_label = Linear(label_dim, features)
        if augment_dim:
            self.map_augment = Linear(augment_dim, features, bias=False)
        self.map_layer0 = Linear(features, embedding)
        self.map_layer1 = Linear(embedding, embedding)

        channels = [model_channels * mult for mult in channel_mult]
        self.build_halves(
            block,
            img_resolution,
            in_channels,
            model_channels,
            channels,
            num_blocks,
            attn_resolutions,
            attending=[num_blocks],
            residual_taps=resample_filter if encoder_type == "residual" else None,
        )
        self.dec[f"{img_resolution}x{img_resolution}_aux_norm"] = GroupNorm(channels[0], _EPS)
        self.dec[f"{img_resolution}x{img_resolution}_aux_conv"] = Conv2d(channels[0], out_channels, 3)
        self._initialise()

    def _initialise(self) -> None:
        """Set Xavier-uniform weights and zero biases; residual branches end near zero."""
        gains = {"conv1": 1e-5, "proj": 1e-5, "qkv": math.sqrt(0.2)}
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                gain = 1e-5 if name.endswith("aux_conv") else gains.get(name.rpartition(".")[2], 1.0)
                nn.init.xavier_uniform_(layer.weight, gain)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def embed(self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        cosines, sines = self.map_noise(c_noise).chunk(2, dim=1)
        e = torch.cat([sines, cosines], dim=1)
        if self.label_dim:
            labels = e.new_zeros(1, self.label_dim) if labels is None else labels.to(e.dtype)
            e = e + self.map_label(labels * math.sqrt(self.label_dim))
        if self.augment_dim and augment_labels is not None:
            e = e + self.map_augment(augment_labels.to(e.dtype))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(e))))
