"""What the score-difference methods have in common: a generator, and a network that learns the generator's score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Adam, Augment, Batch, Method, Step, Teacher, TrainingSettings, denoising_loss


class FakeScoreMethod(Method):
    """A generator and a fake-score network, both started from the teacher; subclasses say how the generator learns."""

    class Settings(TrainingSettings):
        fake_lr: float = Field(gt=0, description="learning rate of the fake-score network")
        init_sigma: float = Field(gt=0, description="noise level at which the generator is called, in image units")
        beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment, generator")

    settings: Settings
    score_difference = True
    teacher: Any  # of their networks, features may be used
    fake: Any

    def build(self, teacher: Teacher) -> None:
        self.teacher = teacher.denoiser
        self.fake = teacher.trainable_copy(self.settings.dropout)
        self.generator = teacher.trainable_copy(self.settings.dropout)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(self.settings.init_sigma * z, self.settings.init_sigma, labels)
        return images

    @abstractmethod
    def fake_loss(self, batch: Batch) -> Tensor:
        """The loss by which the fake score follows the generator, of each generated image, (N,)."""

    @abstractmethod
    def generator_loss(self, batch: Batch) -> Tensor:
        """The loss of each generated image, (N,)."""


class DenoisingFake(FakeScoreMethod):
    """The fake score learns by EDM's own loss, in turn with the generator: SiD, Diff-Instruct, SIM."""

    class Settings(FakeScoreMethod.Settings):
        augment: bool = Field(description="augment the fake score's images as the teacher's own were, if they were")

    settings: Settings
    augment: Augment | None

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.augment = teacher.augment if self.settings.augment else None

    def steps(self) -> Sequence[Step]:
        s = self.settings
        eps = 1e-6 if s.precision == "fp16" else 1e-8  # as SiD's code
        return [
            Step("fake", self.fake, self.fake_loss, Adam(s.fake_lr, eps=eps)),
            Step("generator", self.generator, self.generator_loss, Adam(s.lr, (s.beta1, 0.999), eps)),
        ]

    def fake_loss(self, batch: Batch) -> Tensor:
        """EDM's denoising loss on generated images."""
        with torch.no_grad():
            x, augment_labels = self.augmented(self.generate(batch.z, batch.labels))
        return denoising_loss(self.fake, x, self.noise, batch.labels, augment_labels)

    def augmented(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images augmented as the teacher's were in training, and what was done to them; as they are, and None, without."""
        return (x, None) if self.augment is None else self.augment(x)
