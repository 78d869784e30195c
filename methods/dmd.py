"""Distribution Matching Distillation: Yin, Gharbi, Zhang, Shechtman, Durand, Freeman, Park, CVPR 2024, arXiv 2311.18828."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Adam, Batch, Step, TeacherPairs, per_image, pixels
from methods.fake_score import FakeScoreMethod

LEVELS = 1000
"""Noise levels are drawn from a Karras grid of this many points, index 0 the cleanest."""


class DMD(FakeScoreMethod):
    """Distribution matching distillation with regression on the teacher's noise-image pairs (Yin et al., CVPR 2024)."""

    class Settings(FakeScoreMethod.Settings):
        regression: float = Field(ge=0, description="weight of the regression on pairs; 0 needs no pairs and is data-free")
        pairs: int = Field(gt=0, description="noise-image pairs that the teacher makes")
        pair_steps: int = Field(gt=0, description="Heun steps of the teacher for each pair")
        beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment, both networks")
        weight_decay: float = Field(ge=0, description="AdamW's weight decay, both networks")
        clip_norm: float = Field(gt=0, description="largest L2 norm of the gradient of each network")
        warmup_updates: int = Field(ge=0, description="updates over which the learning rates rise linearly")

    settings: Settings

    @classmethod
    def requires(cls, settings: Settings) -> tuple[TeacherPairs, ...]:
        return (TeacherPairs(settings.pairs, settings.pair_steps),) if settings.regression else ()

    def steps(self) -> Sequence[Step]:
        s = self.settings
        adam = partial(
            Adam,
            betas=(s.beta1, 0.999),
            weight_decay=s.weight_decay,
            clip_norm=s.clip_norm,
            warmup_updates=s.warmup_updates,
        )
        return [
            Step("generator", self.generator, self.generator_loss, adam(s.lr)),
            Step("fake", self.fake, self.fake_loss, adam(s.fake_lr), reuse=True),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """Distribution matching, plus regression on the teacher's pairs; both are means over pixels."""
        x = self.generate(batch.z, batch.labels)
        batch.memo["x"] = x.detach()
        loss = distribution_matching_loss(x, self.direction(batch))
        if batch.pairs is not None:
            z, images, labels = batch.pairs
            loss = loss + self.settings.regression * (self.generate(z, labels) - images).square().mean(pixels(x))
        return loss

    @torch.no_grad()
    def direction(self, batch: Batch) -> Tensor:
        """``(D_fake(y) - D_real(y)) / mean |x - D_real(y)|``, the step from the fake to the real density, scaled by image."""
        x = batch.memo["x"]
        sigma = self.levels(x, lowest=20, highest=980)
        y = x + per_image(sigma, x) * torch.randn_like(x)
        real, fake = self.teacher(y, sigma, batch.labels), self.fake(y, sigma, batch.labels)
        batch.logs["score_gap"] = (real - fake).square().mean()
        return ((fake - real) / (x - real).abs().mean(pixels(x), keepdim=True)).nan_to_num()

    def fake_loss(self, batch: Batch) -> Tensor:
        """The denoising loss on the images that the generator made before its update, a mean over pixels."""
        x, augment_labels = self.augmented(batch.memo["x"])
        sigma = self.levels(x, lowest=0, highest=LEVELS - 1)
        y = x + per_image(sigma, x) * torch.randn_like(x)
        return self.noise.weight(sigma) * (self.fake(y, sigma, batch.labels, augment_labels) - x).square().mean(pixels(x))

    def levels(self, x: Tensor, lowest: int, highest: int) -> Tensor:
        """A noise level for each image, (N,), uniform over the grid points ``lowest`` to ``highest``, both included."""
        index = torch.randint(lowest, highest + 1, (len(x),), device=x.device)
        return self.noise.karras(1 - index.to(x.dtype) / (LEVELS - 1))


def distribution_matching_loss(x: Tensor, direction: Tensor) -> Tensor:
    """``1/2 mean (x - sg[x - g])^2`` of each image, (N,): its gradient with respect to ``x`` is ``g`` over the pixel count."""
    return 0.5 * (x - (x - direction).detach()).square().mean(pixels(x))
