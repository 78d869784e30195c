"""The embedded teacher: an EDM model of scikit-learn's 8x8 digits, shipped and trained in a minute."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.files.tensors import read_weights
from bench.plugin import (
    EDMPrecond,
    ImageSpec,
    NoiseLevels,
    ReportedFID,
    Sampler,
    Teacher,
    Trainable,
    denoising_loss,
    from_uint8,
    load_weights,
    open_dataset,
)
from teachers.networks.mlp import ResidualMLP


class EDMDigits(Teacher, Trainable):
    """EDM on scikit-learn's 8x8 grey digits: 128,704 parameters, shipped, made for a laptop CPU."""

    image_spec = ImageSpec(channels=1, resolution=8)
    noise = NoiseLevels()
    sampler = Sampler(steps=18)
    dataset = "digits"
    protocol = "digits-5k"
    published: ClassVar[ReportedFID | None] = ReportedFID(
        1.48, 35, "results/digits/README.md, replicates 1 to 4", "digits-5k"
    )
    training_images = 1_536_000
    shipped = Path(__file__).with_name("edm_digits.safetensors")

    @staticmethod
    def network() -> EDMPrecond:
        """Build the untrained network."""
        return EDMPrecond(ResidualMLP(channels=1, resolution=8, width=128, blocks=3))

    def load(self, path: Path | None) -> nn.Module:
        tensors = read_weights(path or self.shipped)
        network = self.network()
        load_weights(network, tensors, f"the weights file {str(path or self.shipped)!r}")
        return network

    @classmethod
    def train(
        cls, images: int, seed: int, report: Callable[[int, float], None]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Train by EDM's loss with AdamW, batch 256, and a weight average of decay 0.999.

        The learning rate is 2e-3, and falls linearly to 0 from half way.
        """
        torch.manual_seed(seed)
        pixels, _ = next(open_dataset(cls.dataset).batches(10_000))
        real = from_uint8(pixels)
        network, batch, rate = cls.network(), 256, 2e-3
        average = copy.deepcopy(network).requires_grad_(False)
        optimizer = torch.optim.AdamW(network.parameters(), rate, betas=(0.9, 0.99), fused=True)
        for update, seen in enumerate(range(0, images, batch)):
            optimizer.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - seen / images))
            x = real[torch.randint(len(real), (batch,))]
            loss = denoising_loss(network, x, cls.noise).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                decay = min(0.999, (update + 1) / (update + 10))
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
            if update % 100 == 0:
                report(seen, loss.item())
        return average.state_dict(), {"last_loss": loss.item()}
