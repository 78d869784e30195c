"""Features of DINOv2, a vision transformer trained without labels, for the metric FD-DINOv2."""

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import Asset, FeatureExtractor, fetch, load_weights, read_weights, sha256
from evals.inception import require_images

WEIGHTS = Asset(
    "dinov2-vitl14",
    "dinov2_vitl14_pretrain.pth",
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    "Apache-2.0",
    "README of facebookresearch/dinov2, commit b8931f7",
    note="1.2 GB",
)
PATCH, GRID, TRAINED_GRID = 14, 16, 37
"""Pixels along a patch, and patches along images of 224 and of 518 pixels (the last training)."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's red, green and blue, in [0, 1]."""
EPS = 1e-6
AT_ONCE = 50
"""Number of images that pass the network together; a hidden layer of 500 images would take 4 GB."""


class Attention(nn.Module):
    """Self-attention of all tokens, (N, tokens, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block: attention, then two layers on each token, both as residual branches.

    Each branch has a learned factor for each feature (Touvron et al. 2021, arXiv 2103.17239).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = Attention(width, heads)
        self.ls1 = nn.ParameterDict({"gamma": torch.ones(width)})
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, 4 * width), gelu=nn.GELU(), fc2=nn.Linear(4 * width, width))
        )
        self.ls2 = nn.ParameterDict({"gamma": torch.ones(width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x)) * self.ls1["gamma"]
        return x + self.mlp(self.norm2(x)) * self.ls2["gamma"]


class VisionTransformer(nn.Module):
    """The network of DINOv2: from normalised images (N, 3, 224, 224) to their class tokens (N, width).

    The names of its weights are those of the published files without registers (Oquab et al. 2023,
    arXiv 2304.07193).
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # used in training only
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, PATCH, PATCH)))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, EPS)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1) + self.positions()
        return self.norm(self.blocks(tokens)[:, 0])

    def positions(self) -> Tensor:
        """Return the position embeddings (1, 257, width), resized from those of 37x37 patches."""
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (TRAINED_GRID, TRAINED_GRID))
        scale = (GRID + 0.1) / TRAINED_GRID  # by the authors: the 0.1 moves the sampled positions
        table = F.interpolate(table, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat((self.pos_embed[:, :1], table.flatten(2).transpose(1, 2)), 1)


class DINOv2(FeatureExtractor):
    """DINOv2 ViT-L/14, the extractor of FD-DINOv2 (Stein et al. 2023, arXiv 2306.04675): 1024 features.

    Images of any size are resized to 224 as on the fast path of EDM2's ``calculate_metrics.py``
    (Karras et al. 2024, arXiv 2312.02696): antialiased bicubic on floats, neither clipped nor
    rounded, then normalised by ImageNet's mean and deviation. Stein et al. resize with PIL, which
    clips and rounds to 256 levels; EDM2's authors call the results almost the same. Grey images are
    repeated to three channels.

    There is no cross-check by another library: torch-fidelity's DINOv2 runs code from the network,
    and resizes differently.
    """

    image_spec = None
    channels = (1, 3)
    features = ("dinov2",)
    assets = (WEIGHTS,)
    architecture: ClassVar[dict[str, int]] = {"width": 1024, "depth": 24, "heads": 16}

    def __init__(self, path: Path | None = None) -> None:
        path = path or fetch(WEIGHTS)
        with torch.device("meta"):  # the network takes the file's own tensors: 1.2 GB are held once
            self.network = VisionTransformer(**self.architecture)
        load_weights(self.network, read_weights(path), f"the weights file {str(path)!r}")
        self.network.eval().requires_grad_(False)
        self.sha256 = sha256(path)
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        self.fast = False

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        require_images(images, "DINOv2")
        return {"dinov2": torch.cat([self._features(part) for part in images.split(AT_ONCE)])}

    def _features(self, images: Tensor) -> Tensor:
        pixels = F.interpolate(
            images.float(), (GRID * PATCH, GRID * PATCH), mode="bicubic", antialias=True
        )
        normalised = (pixels / 255 - self.mean) / self.std  # repeats grey
        fast = self.fast and (images.is_cuda or has_bfloat16())
        network = self.compiled if fast and images.is_cuda else self.network
        with torch.autocast(
            images.device.type, torch.float16 if images.is_cuda else torch.bfloat16, enabled=fast
        ):
            return network(normalised)

    @cached_property
    def compiled(self) -> Callable[[Tensor], Tensor]:
        """The network, compiled at its first call."""
        return torch.compile(self.network)

    def digest(self) -> str:
        return self.sha256

    def use_fast(self) -> None:
        """Compute matrix products in float16 on a GPU, compiled, or in bfloat16 on a CPU that has it."""
        self.fast = True


def has_bfloat16() -> bool:
    """Tell whether oneDNN has products in bfloat16 for this processor.

    On other processors they were measured 7 times slower than in float32.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
