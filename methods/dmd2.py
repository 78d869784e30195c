"""DMD2: Yin, Gharbi, Park, Zhang, Shechtman, Durand, Freeman, NeurIPS 2024, arXiv 2405.14867."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, Draw, FurtherLevels, RealImages, Requirement, Step, Teacher, few_steps, per_image, pixels
from methods.discriminator import Head, feature_shape, loss_as_fake, loss_as_real
from methods.dmd import LEVELS, DistributionMatching


class FewStepMatching(DistributionMatching):
    """Distribution matching without regression, for generators of one step or several (backward simulation)."""

    class Settings(DistributionMatching.Settings):
        resample: FurtherLevels = Field(description="further noise levels of a few-step generator, falling; none is one step")
        gan: float = Field(ge=0, description="weight of the generator's adversarial term")
        fake_updates: int = Field(gt=0, description="updates of the fake score for one of the generator")

    settings: Settings

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels at which the generator is called, in order."""
        return (self.settings.init_sigma, *self.settings.resample)

    @property
    def nfe(self) -> int:
        return len(self.sigmas)

    def generate(self, z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return few_steps(self.generator, z, self.sigmas, labels, draw)

    def student(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The generator's output at a step drawn for each image, on the input that its own earlier steps make."""
        level, inputs = z.new_full((len(z),), self.sigmas[0]), self.sigmas[0] * z
        with torch.no_grad():
            chosen = torch.randint(len(self.sigmas), (len(z),), device=z.device)
            here, y = self.sigmas[0], inputs
            for step, sigma in enumerate(self.sigmas[1:], start=1):
                y, here = self.generator(y, here, labels) + sigma * torch.randn_like(y), sigma
                level = torch.where(chosen == step, sigma, level)
                inputs = torch.where(per_image(chosen == step, y).bool(), y, inputs)
        images: Tensor = self.generator(inputs, level, labels)
        return images


class DMD2(FewStepMatching):
    """DMD without pairs: five fake-score updates for one, and a discriminator on its encoder (Yin et al., NeurIPS 2024)."""

    class Settings(FewStepMatching.Settings):
        guidance: float = Field(ge=0, description="weight of the discriminator's loss in the fake-score step")

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        return (RealImages(),) if settings.gan else ()

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.head = Head(*feature_shape(teacher)) if self.settings.gan else None

    def steps(self) -> Sequence[Step]:
        """The first fake-score update is on the batch that the generator's update made, the others on fresh ones."""
        fake = self.adam(self.settings.fake_lr)
        return [
            Step("generator", self.generator, self.generator_loss, self.adam(self.settings.lr)),
            Step("fake", self.fake, self.fake_loss, fake, repeat=self.settings.fake_updates, reuse=True, head=self.head),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """Distribution matching, and a logistic loss of the logits of newly noised images."""
        x = self.student(batch.z, batch.labels)
        batch.memo["x"] = x.detach()
        loss = self.matching_loss(x, batch)
        if self.head is not None:
            loss = loss + self.settings.gan * loss_as_real(self.logits(x, batch.labels))
        return loss

    def fake_loss(self, batch: Batch) -> Tensor:
        """The denoising loss on generated images, and the discriminator's on real and generated ones, noised anew."""
        x = batch.memo.get("x")
        if x is None:
            with torch.no_grad():
                x = self.student(batch.z, batch.labels)
        sigma = self.noise.grid(x, 0, LEVELS - 1, LEVELS)
        y = x + per_image(sigma, x) * torch.randn_like(x)
        loss = self.noise.weight(sigma) * (self.fake(y, sigma, batch.labels) - x).square().mean(pixels(x))
        if self.head is not None:
            assert batch.real is not None
            real, labels = batch.real
            separation = loss_as_fake(self.logits(x, batch.labels)) + loss_as_real(self.logits(real, labels))
            batch.logs["separation"] = separation.detach().mean()
            loss = loss + self.settings.guidance * separation
        return loss

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """What the discriminator makes of images at noise levels of its own, (N,)."""
        assert self.head is not None
        sigma = self.noise.grid(x, 0, LEVELS - 1, LEVELS)
        logits: Tensor = self.head(self.fake.features(x + per_image(sigma, x) * torch.randn_like(x), sigma, labels))
        return logits
