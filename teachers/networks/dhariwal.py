"""ADM as EDM trains it (Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from bench.plugin import Encoded
from teachers.networks.unet import (
    Conv2d,
    GroupNorm,
    Linear,
    PositionalEmbedding,
    Resampling,
    UNetBlock,
    build_decoder,
    decode_blocks,
)

_CHANNELS_PER_HEAD = 64


class DhariwalUNet(nn.Module):
    """The network F(x; c_noise) of EDM's "adm" file, with the arguments of SongUNet.

    A block of fewer than 64 channels has no attention.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.10,
    ) -> None:
        super().__init__()
        self.label_dim, self.augment_dim = label_dim, augment_dim
        embedding = model_channels * channel_mult_emb

        def block(
            inputs: int, outputs: int, *, attend: bool = False, resampling: Resampling | None = None
        ) -> UNetBlock:
            heads = outputs // _CHANNELS_PER_HEAD if attend else 0
            return UNetBlock(
                inputs,
                outputs,
                embedding,
                resampling=resampling,
                heads=heads,
                dropout=dropout,
                project_skip=False,
            )

        self.map_noise = PositionalEmbedding(model_channels, endpoint=False)
        if augment_dim:
            self.map_augment = Linear(augment_dim, model_channels, bias=False)
        self.map_layer0 = Linear(model_channels, embedding)
        self.map_layer1 = Linear(embedding, embedding)
        if label_dim:
            self.map_label = Linear(label_dim, embedding, bias=False)

        self.enc = nn.ModuleDict()
        skips, c = [], model_channels * channel_mult[0]
        for level, mult in enumerate(channel_mult):
            size = img_resolution >> level
            if level == 0:
                self.enc[f"{size}x{size}_conv"] = Conv2d(in_channels, c, 3)
            else:
                self.enc[f"{size}x{size}_down"] = block(c, c, resampling="down")
            skips.append(c)
            for i in range(num_blocks):
                self.enc[f"{size}x{size}_block{i}"] = block(
                    c, model_channels * mult, attend=size in attn_resolutions
                )
                c = model_channels * mult
                skips.append(c)

        def attends(size: int, _: int) -> bool:
            return size in attn_resolutions

        channels = [model_channels * mult for mult in channel_mult]
        self.dec = build_decoder(block, img_resolution, channels, skips, num_blocks, attends)
        self.out_norm = GroupNorm(channels[0], 1e-5)
        self.out_conv = Conv2d(channels[0], out_channels, 3)
        self._initialise()

    def _initialise(self) -> None:
        """Set torch's default weights, which are ADM's, and zeros at the ends of residual branches."""
        for name, layer in self.named_modules():
            if name.rpartition(".")[2] in ("conv1", "proj", "out_conv", "map_augment"):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
        if self.label_dim:
            nn.init.normal_(self.map_label.weight)

    def embed(self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """Embed noise level, class and augmentation as one vector, (N, embedding)."""
        e = self.map_noise(c_noise)
        if self.augment_dim and augment_labels is not None:
            e = e + self.map_augment(augment_labels.to(e.dtype))
        e = self.map_layer1(F.silu(self.map_layer0(e)))
        if self.label_dim and labels is not None:
            e = e + self.map_label(labels.to(e.dtype))
        return F.silu(e)

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
        embedding, skips = self.embed(c_noise, labels, augment_labels), []
        for layer in self.enc.values():
            x = layer(x, embedding) if isinstance(layer, UNetBlock) else layer(x)
            skips.append(x)
        return Encoded(x, embedding, skips)

    def decode(self, encoded: Encoded) -> Tensor:
        """Compute the rising half, up to F."""
        out: Tensor = self.out_conv(F.silu(self.out_norm(decode_blocks(self.dec.values(), encoded))))
        return out
