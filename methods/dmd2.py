"""DMD2: Yin, Gharbi, Park, Zhang, Shechtman, Durand, Freeman, NeurIPS 2024, arXiv 2405.14867."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, RealImages, Requirement, Step, Teacher, add_noise
from methods.parts.discriminator import Head, feature_shape, loss_as_fake, loss_as_real
from methods.parts.distribution_matching import (
    FewStepSettings,
    backward_simulation,
    direction,
    distribution_matching_loss,
    fake_score_loss,
)
from methods.parts.fake_score import FakeScoreMethod


class DMD2(FakeScoreMethod):
    """DMD without pairs: five fake-score updates for one, and a discriminator on its encoder (Yin
    et al., NeurIPS 2024).
    """

    class Settings(FewStepSettings):
        guidance: float = Field(
            ge=0, description="weight of the discriminator's loss in the fake-score step"
        )

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(),) if settings.gan else ()

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.head: Any = Head(*feature_shape(teacher)) if self.settings.gan else None

    def steps(self) -> list[Step]:
        """The generator's update, then several of the fake score.

        The first of these is on the images that the generator made for its own, the others on fresh ones.
        """
        s = self.settings
        return [
            Step("generator", self.generator, self.generator_loss, s.adam(s.lr)),
            Step(
                "fake",
                self.fake,
                self.fake_loss,
                s.adam(s.fake_lr),
                repeat=s.fake_updates,
                reuse=True,
                head=self.head,
            ),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """Distribution matching of each generated image plus the logistic loss of its logit, (N,).

        The discriminator reads the image with other noise.
        """
        x = backward_simulation(self.generator, batch.z, self.settings.sigmas, batch.labels)
        batch.memo["x"] = x.detach()
        with torch.no_grad():
            sigma = self.noise.grid(x, 20, 980)
            y = add_noise(x, sigma)
            real, fake = self.teacher(y, sigma, batch.labels), self.fake(y, sigma, batch.labels)
        batch.logs["score_gap"] = (real - fake).square().mean()
        loss = distribution_matching_loss(x, direction(x, real, fake))
        if self.head is not None:
            loss = loss + self.settings.gan * loss_as_real(self.logits(x, batch.labels))
        return loss

    def fake_loss(self, batch: Batch) -> Tensor:
        """The denoising loss of each generated image plus the discriminator's on it and a real one,
        (N,).
        """
        x = batch.memo.get("x")
        if x is None:
            with torch.no_grad():
                x = backward_simulation(self.generator, batch.z, self.settings.sigmas, batch.labels)
        loss = fake_score_loss(self.fake, x, self.noise, batch.labels)
        if self.head is not None:
            real, labels = batch.real
            separation = loss_as_fake(self.logits(x, batch.labels)) + loss_as_real(
                self.logits(real, labels)
            )
            batch.logs["separation"] = separation.detach().mean()
            loss = loss + self.settings.guidance * separation
        return loss

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The discriminator's logit of each image at a noise level of its own, (N,)."""
        sigma = self.noise.grid(x, 0, 999)
        return self.head(self.fake.features(add_noise(x, sigma), sigma, labels))
