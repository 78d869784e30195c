"""What the score-difference methods have in common: a generator, and a network that learns the generator's score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Adam, Batch, Method, Step, Teacher, TrainingSettings, denoising_loss


class FakeScoreMethod(Method):
    """A generator and a fake-score network, both started from the teacher; subclasses say how the generator learns."""

    class Settings(TrainingSettings):
        fake_lr: float = Field(gt=0, description="learning rate of the fake-score network")
        init_sigma: float = Field(gt=0, description="noise level at which the generator is called, in image units")
        augment: bool = Field(description="augment the fake score's images as the teacher's own were, if they were")
        beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment, generator")

    settings: Settings
    score_difference = True

    def build(self, teacher: Teacher) -> None:
        self.teacher = teacher.denoiser
        self.fake = teacher.trainable_copy(self.settings.dropout)
        self.generator = teacher.trainable_copy(self.settings.dropout)
        self.augment = teacher.augment if self.settings.augment else None

    def steps(self) -> Sequence[Step]:
        return [
            Step("fake", self.fake, self.fake_loss, Adam(self.settings.fake_lr)),
            Step("generator", self.generator, self.generator_loss, Adam(self.settings.lr, (self.settings.beta1, 0.999))),
        ]

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(self.settings.init_sigma * z, self.settings.init_sigma, labels)
        return images

    def fake_loss(self, batch: Batch) -> Tensor:
        """EDM's denoising loss on generated images: the fake score follows the generator."""
        with torch.no_grad():
            x, augment_labels = self.augmented(self.generate(batch.z, batch.labels))
        return denoising_loss(self.fake, x, self.noise, batch.labels, augment_labels)

    def augmented(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images augmented as the teacher's were in training, and what was done to them; as they are, and None, without."""
        return (x, None) if self.augment is None else self.augment(x)

    @abstractmethod
    def generator_loss(self, batch: Batch) -> Tensor:
        """The loss of each generated image, (N,)."""
