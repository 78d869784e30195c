"""The second embedded teacher: a convolutional EDM model of Fashion-MNIST, shipped, trained on one core."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.files.tensors import read_weights
from bench.plugin import (
    EDMPrecond,
    ImageSpec,
    NoiseLevels,
    Resumable,
    Sampler,
    Teacher,
    Training,
    denoising_loss,
    from_uint8,
    load_weights,
    open_dataset,
)
from teachers.networks.small_unet import SmallUNet

CLASSES = 10
UNLABELLED = 0.75
"""Part of the training images whose label is left out, from which the model of all classes is learnt."""


class EDMFashion(Teacher, Resumable):
    """EDM on Fashion-MNIST's 28x28 grey clothes, unconditional: a U-Net, shipped."""

    image_spec = ImageSpec(channels=1, resolution=28)
    noise = NoiseLevels()
    sampler = Sampler(steps=18)
    dataset = "fashion-mnist"
    protocol = "fashion-10k"
    recipes_like = "edm-digits"
    training_images = 896_000
    shipped: ClassVar[Path] = Path(__file__).with_name("edm_fashion.safetensors")

    @staticmethod
    def network() -> EDMPrecond:
        """Build the untrained network, which serves with labels and without."""
        return EDMPrecond(SmallUNet(1, 28, CLASSES, widths=(32, 128), blocks=3))

    def load(self, path: Path | None) -> nn.Module:
        tensors = read_weights(path or self.shipped)
        network = self.network()
        load_weights(network, tensors, f"the weights file {str(path or self.shipped)!r}")
        return network

    @classmethod
    def training(cls, images: int, device: torch.device) -> Training:
        """Train by EDM's loss with AdamW, batch 64, the network in bf16, and a weight average of decay
        0.999. Three quarters of the images are shown without their label.

        The learning rate is 1.5e-3, reached after 200 updates, and falls linearly to 0 from half way.
        """
        pixels, classes = next(open_dataset(cls.dataset).batches(60_000))
        assert classes is not None
        pixels, batch = pixels.to(device), 64
        labels = F.one_hot(classes, CLASSES).float().to(device)
        network = cls.network().to(device).to(memory_format=torch.channels_last)
        network.half_type = torch.bfloat16  # twice as fast on a CPU with AMX

        def loss() -> Tensor:
            chosen = torch.randint(len(pixels), (batch,))
            kept = torch.rand(batch, 1) >= UNLABELLED
            x, y = from_uint8(pixels[chosen]), labels[chosen] * kept.to(device)
            return denoising_loss(network, x, cls.noise, y).mean() / x[0].numel()

        return Training(
            network,
            torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), fused=True),
            loss,
            batch=batch,
            images=images,
            rate=lambda seen: 1.5e-3 * min(1.0, 2 * (1 - seen / images), (seen / batch + 1) / 200),
            decay=0.999,
        )


class EDMFashionCond(EDMFashion):
    """EDM on Fashion-MNIST by class: the same network and weights, shown the label."""

    image_spec = ImageSpec(channels=1, resolution=28, label_dim=CLASSES)
    recipes_like = "edm-fashion"
