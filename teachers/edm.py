"""The teachers of EDM that NVIDIA publishes: network, weights, sampler, data set, reported FID.

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (NeurIPS 2022,
arXiv 2206.00364). The addresses are from the README of NVlabs/edm, which states no checksums. The
network arguments follow from its training options; those that a file records are compared with
them.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from torch import nn

from bench.plugin import (
    Asset,
    ImageSpec,
    NoiseLevels,
    ReportedFID,
    Sampler,
    Teacher,
    UsageError,
    at_hand,
)
from teachers.files.checkpoints import load_network
from teachers.networks.augment import AugmentPipe
from teachers.networks.config import NetworkConfig

_TABLE_2 = (
    "EDM paper, Table 2, and NVlabs/edm example.py: the smallest of three FIDs of 50,000 images each"
)


def published_network(file: str, size: str) -> Asset:
    """Return the published file of this name; its size is that of its numbers, as none is stated."""
    return Asset(
        id=Path(file).stem,
        file=file,
        url=f"https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/{file}",
        licence="CC BY-NC-SA 4.0 (NVIDIA): not for commercial use",
        source="NVlabs/edm README, example.py and generate.py",
        note=f"about {size}",
    )


def ddpmpp(resolution: int, label_dim: int = 0) -> NetworkConfig:
    """Configure DDPM++, the network of the "vp" files, for images of 32 or 64 pixels."""
    return NetworkConfig(
        model_type="SongUNet",
        embedding_type="positional",
        encoder_type="standard",
        decoder_type="standard",
        channel_mult_noise=1,
        resample_filter=[1, 1],
        model_channels=128,
        channel_mult=[2, 2, 2] if resolution == 32 else [1, 2, 2, 2],
        augment_dim=9,
        img_resolution=resolution,
        img_channels=3,
        label_dim=label_dim,
    )


def ncsnpp(resolution: int, label_dim: int = 0) -> NetworkConfig:
    """Configure NCSN++, the network of the "ve" files, for images of 32 or 64 pixels."""
    ve = {
        "embedding_type": "fourier",
        "encoder_type": "residual",
        "channel_mult_noise": 2,
        "resample_filter": [1, 3, 3, 1],
    }
    return ddpmpp(resolution, label_dim).model_copy(update=ve)


class EDMTeacher(Teacher):
    """A teacher with a network of EDM, read from any file that holds one."""

    network: ClassVar[NetworkConfig]
    """The published network; the size of the images follows from it."""
    weights: ClassVar[Asset]
    """The published file."""
    noise = NoiseLevels()
    protocol = "edm-50k"

    def __init_subclass__(cls) -> None:
        cls.image_spec, cls.assets = cls.network.image_spec, (cls.weights,)

    def load(self, path: Path | None) -> nn.Module:
        file = path or at_hand(self.weights)
        if file is None:  # in a dry run, to which the cost matters alone
            self.untrained = True
            return self.network.build()
        network, config = load_network(file, self.network)
        if config.image_spec != self.image_spec:
            raise UsageError(
                f"the weights file {str(file)!r} makes {_describe(config.image_spec)}, this teacher "
                f"{_describe(self.image_spec)}; give it to the teacher that it belongs to."
            )
        self.noise = replace(self.noise, sigma_data=config.sigma_data)
        if differences := config.differs(self.network):
            self.note = f"{file.name} is not the published network: {', '.join(differences)}"
            if not config.augment_dim:
                self.augment = None  # the network takes no augmentation labels
        return network


def _describe(images: ImageSpec) -> str:
    return f"{images} images of {images.label_dim or 'no'} classes"


class EDMCifar10(EDMTeacher):
    """EDM on CIFAR-10, unconditional: DDPM++, 55.7M parameters, FID 1.97 at NFE 35 as published."""

    augment = AugmentPipe(0.12)
    network = ddpmpp(32)
    sampler = Sampler(steps=18)
    dataset = "cifar10"
    weights = published_network("edm-cifar10-32x32-uncond-vp.pkl", "223 MB")
    published: ClassVar[ReportedFID | None] = ReportedFID(1.97, 35, _TABLE_2)


class EDMCifar10Cond(EDMCifar10):
    """EDM on CIFAR-10, by class: DDPM++, 55.7M parameters, FID 1.79 at NFE 35 as published."""

    network = ddpmpp(32, label_dim=10)
    weights = published_network("edm-cifar10-32x32-cond-vp.pkl", "223 MB")
    published: ClassVar[ReportedFID | None] = ReportedFID(1.79, 35, _TABLE_2)


class EDMCifar10VE(EDMCifar10):
    """EDM on CIFAR-10, unconditional: NCSN++, 56.4M parameters, the "ve" variant."""

    network = ncsnpp(32)
    weights = published_network("edm-cifar10-32x32-uncond-ve.pkl", "226 MB")
    published: ClassVar[ReportedFID | None] = ReportedFID(
        1.98, 35, "README of D2O (github.com/Zyriix/GDD)"
    )


class EDMCifar10CondVE(EDMCifar10Cond):
    """EDM on CIFAR-10, by class: NCSN++, the "ve" variant."""

    network = ncsnpp(32, label_dim=10)
    weights = published_network("edm-cifar10-32x32-cond-ve.pkl", "226 MB")
    published: ClassVar[ReportedFID | None] = None


class EDMFFHQ64(EDMTeacher):
    """EDM on faces (FFHQ at 64x64): DDPM++, 61.8M parameters, FID 2.39 at NFE 79 as published."""

    augment = AugmentPipe(0.15)
    network = ddpmpp(64)
    sampler = Sampler(steps=40)
    dataset = "ffhq64"
    weights = published_network("edm-ffhq-64x64-uncond-vp.pkl", "247 MB")
    published: ClassVar[ReportedFID | None] = ReportedFID(2.39, 79, _TABLE_2)


class EDMFFHQ64VE(EDMFFHQ64):
    """EDM on faces (FFHQ at 64x64): NCSN++, 62.8M parameters, the "ve" variant."""

    network = ncsnpp(64)
    weights = published_network("edm-ffhq-64x64-uncond-ve.pkl", "251 MB")
    published: ClassVar[ReportedFID | None] = None


class EDMAFHQv2(EDMFFHQ64):
    """EDM on animal faces (AFHQv2 at 64x64): DDPM++, 61.8M parameters, FID 1.96 at NFE 79 as published."""

    dataset = "afhqv2-64"
    weights = published_network("edm-afhqv2-64x64-uncond-vp.pkl", "247 MB")
    published: ClassVar[ReportedFID | None] = ReportedFID(1.96, 79, _TABLE_2)


class EDMAFHQv2VE(EDMAFHQv2):
    """EDM on animal faces (AFHQv2 at 64x64): NCSN++, 62.8M parameters, the "ve" variant."""

    network = ncsnpp(64)
    weights = published_network("edm-afhqv2-64x64-uncond-ve.pkl", "251 MB")
    published: ClassVar[ReportedFID | None] = None


class EDMImageNet64(EDMTeacher):
    """EDM on ImageNet 64x64, by class: ADM, 295.9M parameters, published FID 1.36 at NFE 511
    (stochastic).
    """

    network = NetworkConfig(
        model_type="DhariwalUNet",
        model_channels=192,
        channel_mult=[1, 2, 3, 4],
        img_resolution=64,
        img_channels=3,
        label_dim=1000,
    )
    sampler = Sampler(steps=256, churn=40, churn_min=0.05, churn_max=50, churn_noise=1.003)
    dataset = "imagenet64"
    weights = published_network("edm-imagenet-64x64-cond-adm.pkl", "1.2 GB")
    published: ClassVar[ReportedFID | None] = ReportedFID(1.36, 511, _TABLE_2)
