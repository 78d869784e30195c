"""Distribution matching, for DMD, DMD2 and f-distill: settings, losses, and generators of several steps.

Noise levels are points of Karras' grid of 1,000, of which 0 is the cleanest.
"""

import itertools
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.plugin import Adam, Denoiser, FurtherLevels, NoiseLevels, add_noise, per_image, pixels
from methods.parts.fake_score import FakeScoreSettings


class MatchingSettings(FakeScoreSettings):
    """The settings of DMD and its successors."""

    beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment, both networks")
    weight_decay: float = Field(ge=0, description="AdamW's weight decay, both networks")
    clip_norm: float = Field(gt=0, description="largest L2 norm of the gradient of each network")
    warmup_updates: int = Field(ge=0, description="updates over which the learning rates rise linearly")
    augment: ClassVar[bool] = False  # the images of the fake score are as they are

    def adam(self, lr: float) -> Adam:
        """AdamW as both networks have it."""
        return Adam(
            lr,
            (self.beta1, 0.999),
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            warmup_updates=self.warmup_updates,
        )


class FewStepSettings(MatchingSettings):
    """The settings of DMD's successors: their generators may take several steps, and meet a
    discriminator.
    """

    resample: FurtherLevels = Field(
        description="further noise levels of a few-step generator, falling; none is one step"
    )
    gan: float = Field(ge=0, description="weight of the generator's adversarial term")
    fake_updates: int = Field(gt=0, description="updates of the fake score for one of the generator")

    @property
    def sigmas(self) -> tuple[float, ...]:
        return (self.init_sigma, *self.resample)


@torch.no_grad()
def direction(x: Tensor, real: Tensor, fake: Tensor, floor: float = 0.0) -> Tensor:
    """``(D_fake(y) - D_real(y)) / (mean |x - D_real(y)| + floor)``, like the images ``x``.

    It points from the real to the fake density, so that images go against it; NaN counts as 0.
    """
    return ((fake - real) / ((x - real).abs().mean(pixels(x), keepdim=True) + floor)).nan_to_num()


def distribution_matching_loss(x: Tensor, direction: Tensor) -> Tensor:
    """``1/2 mean (x - sg[x - g])^2`` of each image, (N,), where ``g`` is the direction.

    Its gradient with respect to ``x`` is ``g`` over the number of pixels.
    """
    return 0.5 * (x - (x - direction).detach()).square().mean(pixels(x))


def fake_score_loss(fake: Denoiser, x: Tensor, noise: NoiseLevels, labels: Tensor | None) -> Tensor:
    """EDM's weighted denoising loss of each image, (N,): a mean over its pixels, at a level of the
    whole grid.
    """
    sigma = noise.grid(x, 0, 999)
    return noise.weight(sigma) * (fake(add_noise(x, sigma), sigma, labels) - x).square().mean(pixels(x))


def backward_simulation(
    generator: nn.Module, z: Tensor, sigmas: tuple[float, ...], labels: Tensor | None
) -> Tensor:
    """The generator's images (N, C, H, W) at a step drawn for each, on inputs that its own earlier
    steps make.

    Only the last call of the generator is differentiated. With one noise level it is plain generation.
    """
    level, inputs = z.new_full((len(z),), sigmas[0]), sigmas[0] * z
    with torch.no_grad():
        chosen = torch.randint(len(sigmas), (len(z),), device=z.device)
        y = inputs
        for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas), start=1):
            y = generator(y, sigma, labels) + sigma_next * torch.randn_like(y)
            level = torch.where(chosen == step, sigma_next, level)
            inputs = torch.where(per_image(chosen == step, y).bool(), y, inputs)
    return generator(inputs, level, labels)
