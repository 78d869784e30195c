"""Distribution Matching Distillation: Yin, Gharbi, Zhang, Shechtman, Durand, Freeman, Park, CVPR
2024, arXiv 2311.18828.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, Requirement, Step, Teacher, TeacherPairs, add_noise
from methods.parts.distance import DistanceName, distance, weights_of
from methods.parts.distribution_matching import (
    MatchingSettings,
    direction,
    distribution_matching_loss,
    fake_score_loss,
)
from methods.parts.fake_score import FakeScoreMethod


class DMD(FakeScoreMethod):
    """Distribution matching distillation with regression on the teacher's noise-image pairs (Yin et
    al., CVPR 2024).
    """

    class Settings(MatchingSettings):
        regression: float = Field(
            ge=0, description="weight of the regression on pairs; 0 needs no pairs and is data-free"
        )
        distance: DistanceName = Field(
            description="of the regression: lpips for colour images, l2, or l1"
        )
        pairs: int = Field(gt=0, description="noise-image pairs that the teacher makes")
        pair_steps: int = Field(gt=0, description="Heun steps of the teacher for each pair")

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        pairs = TeacherPairs(settings.pairs, settings.pair_steps)
        return (pairs, *weights_of(settings.distance)) if settings.regression else ()

    def prepare_training(self, teacher: Teacher) -> None:
        if self.settings.regression:
            self.image_distance = distance(self.settings.distance, teacher)

    def steps(self) -> list[Step]:
        """The generator's update, then the fake score's on the images that the generator made for it."""
        s = self.settings
        return [
            Step("generator", self.generator, self.generator_loss, s.adam(s.lr)),
            Step("fake", self.fake, self.fake_loss, s.adam(s.fake_lr), reuse=True),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """Distribution matching of each generated image plus regression on a pair of the teacher's,
        (N,).
        """
        x = self.generate(batch.z, batch.labels)
        batch.memo["x"] = x.detach()
        with torch.no_grad():
            sigma = self.noise.grid(x, 20, 980)
            y = add_noise(x, sigma)
            real, fake = self.teacher(y, sigma, batch.labels), self.fake(y, sigma, batch.labels)
        batch.logs["score_gap"] = (real - fake).square().mean()
        loss = distribution_matching_loss(x, direction(x, real, fake))
        if self.settings.regression:
            z, images, labels = batch.pairs
            loss = loss + self.settings.regression * self.image_distance(
                self.generate(z, labels), images
            )
        return loss

    def fake_loss(self, batch: Batch) -> Tensor:
        """The denoising loss of each image that the generator made before its update, (N,)."""
        return fake_score_loss(self.fake, batch.memo["x"], self.noise, batch.labels)
