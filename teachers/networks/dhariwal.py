"""ADM as EDM trains it (Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021)."""

from collections.abc import Iterable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from teachers.networks.unet import Conv2d, GroupNorm, Linear, PositionalEmbedding, UNet, UNetBlock


class DhariwalUNet(UNet):
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

        self.map_noise = PositionalEmbedding(model_channels, endpoint=False)
        if augment_dim:
            self.map_augment = Linear(augment_dim, model_channels, bias=False)
        self.map_layer0 = Linear(model_channels, embedding)
        self.map_layer1 = Linear(embedding, embedding)
        if label_dim:
            self.map_label = Linear(label_dim, embedding, bias=False)

        block = partial(
            UNetBlock,
            embedding=embedding,
            channels_per_head=64,
            dropout=dropout,
            project_skip=False,
        )
        channels = [model_channels * mult for mult in channel_mult]
        self.build_halves(
            block,
            img_resolution,
            in_channels,
            channels[0],
            channels,
            num_blocks,
            attn_resolutions,
            attending=range(num_blocks + 1),
        )
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
        e = self.map_noise(c_noise)
        if self.augment_dim and augment_labels is not None:
            e = e + self.map_augment(augment_labels.to(e.dtype))
        e = self.map_layer1(F.silu(self.map_layer0(e)))
        if self.label_dim and labels is not None:
            e = e + self.map_label(labels.to(e.dtype))
        return F.silu(e)

    def rising_layers(self) -> Iterable[nn.Module]:
        return [*self.dec.values(), self.out_norm, self.out_conv]
