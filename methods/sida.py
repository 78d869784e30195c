"""Adversarial Score identity Distillation: Zhou, Zheng, Gu, Wang, Huang, ICLR 2025, arXiv 2410.14919."""

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, RealImages, Requirement, Step, Teacher, add_noise, per_image, pixels
from methods.parts.discriminator import feature_shape, loss_as_fake, loss_as_real
from methods.parts.fake_score import FakeScoreMethod
from methods.sid import LOSS_SCALE, SiD, sid_loss, sid_weight


class SiDA(FakeScoreMethod):
    """SiD with real images: the encoder of the fake-score network is a discriminator as well (Zhou
    et al., ICLR 2025).

    The logits are the mean over channels of the encoder's last output, one for each of its places;
    there is no head.
    """

    class Settings(SiD.Settings):
        adversarial: float = Field(
            ge=0, description="weight of the generator's adversarial term, per pixel of an image"
        )
        discriminator: float = Field(
            ge=0, description="weight of the discriminator's loss in the fake-score step"
        )
        micro_batch: int = Field(
            gt=0, description="images whose adversarial losses are averaged before they are weighted"
        )
        generator_starts_at: int = Field(
            ge=0, description="images before the first update of the generator"
        )
        adversarial_starts_at: int = Field(
            ge=0, description="images before the generator's adversarial term counts"
        )

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(),)

    @property
    def together(self) -> int:
        return self.settings.micro_batch

    def phase(self, seen: int) -> bool:
        return seen > self.settings.adversarial_starts_at

    def build(self, teacher: Teacher) -> None:
        feature_shape(teacher)  # refuses a teacher without an encoder
        super().build(teacher)

    def steps(self) -> list[Step]:
        """The fake score and the generator take turns; the generator joins in after some images."""
        s = self.settings
        return [
            Step("fake", self.fake, self.fake_loss, replace(s.adam(s.fake_lr), clip_value=1.0)),
            Step(
                "generator",
                self.generator,
                self.generator_loss,
                s.adam(s.lr, s.beta1),
                starts_at=s.generator_starts_at,
            ),
        ]

    def fake_loss(self, batch: Batch) -> Tensor:
        """EDM's loss of each generated image plus the logistic loss of the logits, (N,).

        Real and generated images share levels and noise.
        """
        real, labels = batch.real
        with torch.no_grad():
            x, x_augment = self.augmented(self.generate(batch.z, labels))
            real, real_augment = self.augmented(real)
        sigma = self.noise.sample(x)
        noise = per_image(sigma, x) * torch.randn_like(x)
        denoised, features = self.fake(x + noise, sigma, labels, x_augment, features=True)
        on_real = loss_as_real(logits(self.fake.features(real + noise, sigma, labels, real_augment)))
        on_fake = loss_as_fake(logits(features))
        separation = (self.averaged(on_real) + self.averaged(on_fake)) / 2
        score = (denoised - x).square().sum(pixels(x))
        batch.logs["separation"] = separation.detach().mean()
        return self.noise.weight(sigma) * (score + self.settings.discriminator * separation)

    def generator_loss(self, batch: Batch) -> Tensor:
        """SiD's loss of each generated image, (N,); once the adversarial term counts, the mean of both."""
        s = self.settings
        x = self.generate(batch.z, batch.labels)
        sigma = self.noise.below(x, s.tmax)
        y = add_noise(x, sigma)
        real = self.teacher(y, sigma, batch.labels)
        fake, features = self.fake(y, sigma, batch.labels, features=True)
        batch.logs["score_gap"] = (real - fake).detach().square().mean()
        score = LOSS_SCALE * sid_loss(x, real, fake, s.alpha)
        if batch.seen <= s.adversarial_starts_at:
            return score
        fooled = self.averaged(loss_as_real(logits(features).nan_to_num().clamp(-10, 10)))
        adversarial = s.adversarial * x[0].numel() * fooled / sid_weight(x, real).flatten()
        return (score + adversarial.nan_to_num()) / 2

    def averaged(self, losses: Tensor) -> Tensor:
        """The losses (N, h, w) averaged over the places and images of each micro-batch, for each
        image, (N,).
        """
        groups = losses.flatten(1).mean(1).split(self.settings.micro_batch)
        return torch.cat([group.mean().expand(len(group)) for group in groups])


def logits(features: Tensor) -> Tensor:
    """One logit for each place of the encoder's output, (N, h, w): the mean over its channels."""
    return features.mean(1)
