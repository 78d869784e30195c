"""Build EDM's networks from recorded constructor arguments, which are checked first."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.plugin import EDMPrecond, ImageSpec, UsageError, explain, one_line
from teachers.networks.dhariwal import DhariwalUNet
from teachers.networks.song import SongUNet

_Size = Annotated[int, Field(ge=1, le=1024)]


class NetworkConfig(BaseModel):
    """The arguments of EDM's ``EDMPrecond`` under their names there; others have the family's defaults.

    The ranges admit every published network, and none with which a hostile file could fill the
    memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model_type: Literal["SongUNet", "DhariwalUNet"]
    img_resolution: int = Field(ge=8, le=512)
    img_channels: int = Field(ge=1, le=16)
    label_dim: int = Field(default=0, ge=0, le=100_000)
    augment_dim: int = Field(default=0, ge=0, le=64)
    model_channels: int = Field(default=128, ge=4, le=1024, multiple_of=4)
    channel_mult: list[_Size] = Field(default=[1, 2, 2, 2], min_length=1, max_length=8)
    channel_mult_emb: int = Field(default=4, ge=1, le=16)
    num_blocks: int = Field(default=4, ge=1, le=16)
    attn_resolutions: list[_Size] = Field(default=[16], max_length=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    embedding_type: Literal["positional", "fourier"] = "positional"
    channel_mult_noise: int = Field(default=1, ge=1, le=16)
    encoder_type: Literal["standard", "residual"] = "standard"
    resample_filter: list[Annotated[float, Field(gt=0, le=1000)]] = Field(
        default=[1, 1], min_length=2, max_length=8
    )
    # arguments that do not change the network, or that have one supported value
    decoder_type: Literal["standard"] = "standard"
    label_dropout: float = Field(default=0, ge=0, lt=1)
    use_fp16: bool = False
    sigma_min: float = Field(default=0, ge=0)
    sigma_max: float = Field(default=float("inf"), gt=0)
    sigma_data: float = Field(default=0.5, gt=0, le=100)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        """Raise ValueError unless levels halve the resolution and heads divide the channels."""
        if self.img_resolution % 2 ** (len(self.channel_mult) - 1):
            raise ValueError(
                f"{len(self.channel_mult)} levels do not halve the resolution {self.img_resolution}"
            )
        widths = [self.model_channels * m for m in self.channel_mult]
        if self.model_type == "DhariwalUNet" and any(w >= 64 and w % (w // 64) for w in widths):
            raise ValueError(f"the channels {widths} are not divided by their heads, one for each 64")
        return self

    @classmethod
    def checked(cls, kwargs: Any, where: str) -> Self:
        """Check recorded arguments.

        Raises UsageError for ones that are unknown, out of range, or do not fit.

        ``where`` names their file in the message.
        """
        try:
            config = cls.model_validate(kwargs)
            config.on_meta()
        except (TypeError, ValueError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else one_line(error)
            raise UsageError(
                f"{where} records a network that is not one of EDM's: {reason}; expected the arguments "
                "of a DDPM++, NCSN++ or ADM network."
            ) from None
        return config

    @property
    def image_spec(self) -> ImageSpec:
        """Size of the network's images, and its number of classes."""
        return ImageSpec(self.img_channels, self.img_resolution, self.label_dim)

    @property
    def family(self) -> type[SongUNet] | type[DhariwalUNet]:
        """Class of the inner network."""
        return SongUNet if self.model_type == "SongUNet" else DhariwalUNet

    def build(self) -> EDMPrecond:
        """Build the untrained network, in evaluation mode.

        Raises TypeError or ValueError for arguments that do not fit together.
        """
        arguments = self.model_dump(include=self.model_fields_set, exclude=_NOT_OF_THE_FAMILY)
        network = self.family(in_channels=self.img_channels, out_channels=self.img_channels, **arguments)
        return EDMPrecond(network, self.sigma_data).eval()

    def on_meta(self) -> EDMPrecond:
        """Build the network on the meta device: names and shapes without numbers, at no cost."""
        with torch.device("meta"):
            return self.build()

    def differs(self, other: NetworkConfig) -> list[str]:
        """Say how this architecture differs from ``other``; empty if it does not."""
        mine, theirs = self.architecture(), other.architecture()
        return [
            f"{n} {mine[n]} where {theirs.get(n)} was published"
            for n in mine
            if mine[n] != theirs.get(n)
        ]

    def architecture(self) -> dict[str, Any]:
        """Return every argument of the architecture, with the family's defaults."""
        defaults = {
            p.name: list(p.default) if isinstance(p.default, tuple) else p.default
            for p in inspect.signature(self.family).parameters.values()
        }
        arguments = (
            defaults | {"sigma_data": self.sigma_data} | self.model_dump(include=self.model_fields_set)
        )
        return {name: value for name, value in arguments.items() if name not in _NOT_OF_THE_ARCHITECTURE}


_NOT_OF_THE_FAMILY = {
    "model_type", "img_channels", "use_fp16", "sigma_min", "sigma_max", "sigma_data", "decoder_type",
    "label_dropout",
}  # fmt: skip
_NOT_OF_THE_ARCHITECTURE = {
    "use_fp16", "sigma_min", "sigma_max", "dropout", "label_dropout", "decoder_type", "in_channels",
    "out_channels",
}  # fmt: skip
