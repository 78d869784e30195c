"""A network of a few thousand weights, all of them random."""

from __future__ import annotations

import functools

import torch

from teachers.networks.config import NetworkConfig

TINY = {
    "model_type": "SongUNet",
    "model_channels": 4,
    "channel_mult": [1],
    "channel_mult_emb": 1,
    "num_blocks": 1,
}
TINY |= {"attn_resolutions": [], "img_resolution": 8, "img_channels": 1, "label_dim": 0}


@functools.cache
def _tiny():
    generator = torch.Generator().manual_seed(0)
    made = NetworkConfig.checked(TINY, "here").build().state_dict()
    return {
        k: v if k.endswith("filter") else torch.randn(v.shape, generator=generator)
        for k, v in made.items()
    }


def tiny(**changes):
    """Its state dict, but for these tensors."""
    return _tiny() | changes
