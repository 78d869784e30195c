"""The base of the score-difference methods: a generator, and a network that learns its images' score."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import (
    Adam,
    Augment,
    Batch,
    Draw,
    Method,
    Teacher,
    TrainingSettings,
    denoising_loss,
    few_steps,
)


class FakeScoreSettings(TrainingSettings):
    """The settings of every method with a fake score; those of each family add ``augment``."""

    fake_lr: float = Field(gt=0, description="learning rate of the fake-score network")
    init_sigma: float = Field(
        gt=0, description="noise level at which the generator is called, in image units"
    )

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels at which the generator is called, falling; one level is one step."""
        return (self.init_sigma,)


class DenoisingSettings(FakeScoreSettings):
    """The settings of methods whose fake score learns as SiD's: by EDM's own loss."""

    beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment, generator")
    augment: bool = Field(
        description="augment the fake score's images as the teacher's own were, if they were"
    )

    def adam(self, lr: float, beta1: float = 0.0) -> Adam:
        """Adam as in SiD's code, where eps is larger if the networks compute in float16."""
        return Adam(lr, (beta1, 0.999), eps=1e-6 if self.precision == "fp16" else 1e-8)


class FakeScoreMethod(Method):
    """A frozen teacher, a fake score that learns the score of generated images, and a generator.

    The fake score and the generator start as copies of the teacher. The generator is called at each
    of the noise levels ``settings.sigmas``, in order.
    """

    score_difference = True
    draws = True

    def build(self, teacher: Teacher) -> None:
        self.teacher: Any = teacher.denoiser  # Any: a discriminator reads their features
        self.fake: Any = teacher.trainable_copy(self.settings.dropout)
        self.generator = teacher.trainable_copy(self.settings.dropout)
        self.augment: Augment | None = teacher.augment if self.settings.augment else None

    @property
    def nfe(self) -> int:
        return len(self.settings.sigmas)

    def generate(self, z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return few_steps(self.generator, z, self.settings.sigmas, labels, draw)

    def fake_loss(self, batch: Batch) -> Tensor:
        """EDM's denoising loss of the fake score on each generated image, (N,)."""
        with torch.no_grad():
            x, augment_labels = self.augmented(self.generate(batch.z, batch.labels))
        return denoising_loss(self.fake, x, self.noise, batch.labels, augment_labels)

    def augmented(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The images augmented as the teacher's were in training, and the labels that tell how.

        Without augmentation these are the images as they are, and None.
        """
        return (x, None) if self.augment is None else self.augment(x)
