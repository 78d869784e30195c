"""Distribution Matching Distillation: Yin, Gharbi, Zhang, Shechtman, Durand, Freeman, Park, CVPR 2024, arXiv 2311.18828."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Adam, Batch, Requirement, Step, Teacher, TeacherPairs, per_image, pixels
from methods.distance import ComparesImages, DistanceName, weights_of
from methods.fake_score import FakeScoreMethod

LEVELS = 1000
"""Noise levels are drawn from a Karras grid of this many points, index 0 the cleanest."""


class DistributionMatching(FakeScoreMethod):
    """What DMD and its successors share: the optimizer, and the direction from the fake to the real density."""

    class Settings(FakeScoreMethod.Settings):
        beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment, both networks")
        weight_decay: float = Field(ge=0, description="AdamW's weight decay, both networks")
        clip_norm: float = Field(gt=0, description="largest L2 norm of the gradient of each network")
        warmup_updates: int = Field(ge=0, description="updates over which the learning rates rise linearly")

    settings: Settings

    def matching_loss(self, x: Tensor, batch: Batch) -> Tensor:
        """The distribution matching loss of generated images, a mean over pixels, (N,)."""
        with torch.no_grad():
            sigma = self.noise.grid(x, 20, 980, LEVELS)
            y = x + per_image(sigma, x) * torch.randn_like(x)
            real, fake = self.teacher(y, sigma, batch.labels), self.fake(y, sigma, batch.labels)
        batch.logs["score_gap"] = (real - fake).square().mean()
        return distribution_matching_loss(x, direction(x, real, fake))

    def adam(self, lr: float) -> Adam:
        """AdamW as both networks have it."""
        s = self.settings
        return Adam(lr, (s.beta1, 0.999), weight_decay=s.weight_decay, clip_norm=s.clip_norm, warmup_updates=s.warmup_updates)


class DMD(ComparesImages, DistributionMatching):
    """Distribution matching distillation with regression on the teacher's noise-image pairs (Yin et al., CVPR 2024)."""

    class Settings(DistributionMatching.Settings):
        regression: float = Field(ge=0, description="weight of the regression on pairs; 0 needs no pairs and is data-free")
        distance: DistanceName = Field(description="of the regression: lpips for colour images, l2, or l1")
        pairs: int = Field(gt=0, description="noise-image pairs that the teacher makes")
        pair_steps: int = Field(gt=0, description="Heun steps of the teacher for each pair")

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        return (TeacherPairs(settings.pairs, settings.pair_steps), *weights_of(settings.distance)) if settings.regression else ()

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.of = teacher

    def steps(self) -> Sequence[Step]:
        if self.settings.regression:
            _ = self.image_distance  # made now: reading LPIPS' weights is no part of the first update's time
        return [
            Step("generator", self.generator, self.generator_loss, self.adam(self.settings.lr)),
            Step("fake", self.fake, self.fake_loss, self.adam(self.settings.fake_lr), reuse=True),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """Distribution matching, plus regression on the teacher's pairs."""
        x = self.generate(batch.z, batch.labels)
        batch.memo["x"] = x.detach()
        loss = self.matching_loss(x, batch)
        if self.settings.regression:
            assert batch.pairs is not None
            z, images, labels = batch.pairs
            loss = loss + self.settings.regression * self.image_distance(self.generate(z, labels), images)
        return loss

    def fake_loss(self, batch: Batch) -> Tensor:
        """The denoising loss on the images that the generator made before its update, a mean over pixels."""
        x = batch.memo["x"]
        sigma = self.noise.grid(x, 0, LEVELS - 1, LEVELS)
        y = x + per_image(sigma, x) * torch.randn_like(x)
        return self.noise.weight(sigma) * (self.fake(y, sigma, batch.labels) - x).square().mean(pixels(x))


@torch.no_grad()
def direction(x: Tensor, real: Tensor, fake: Tensor, floor: float = 0.0) -> Tensor:
    """``(D_fake(y) - D_real(y)) / (mean |x - D_real(y)| + floor)``: from the fake to the real density, scaled for each image."""
    return ((fake - real) / ((x - real).abs().mean(pixels(x), keepdim=True) + floor)).nan_to_num()


def distribution_matching_loss(x: Tensor, direction: Tensor) -> Tensor:
    """``1/2 mean (x - sg[x - g])^2`` of each image, (N,): its gradient with respect to ``x`` is ``g`` over the pixel count."""
    return 0.5 * (x - (x - direction).detach()).square().mean(pixels(x))
