"""new-method: a working example of a distillation method, to be made into your own.

It is Diff-Instruct in small (Luo et al., NeurIPS 2023): a second network, the fake score, learns to denoise
the generator's images, and the generator follows the difference between it and the teacher.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import (
    Adam,
    Batch,
    Method,
    Step,
    Teacher,
    TrainingSettings,
    add_noise,
    denoising_loss,
    pixels,
    register_method,
)


@register_method("new-method")
class NewMethod(Method):
    """Follows the gap between the teacher's score and that of its own images (an example to begin from)."""

    score_difference = True  # its gradient is a small difference of two networks, which bf16 rounds away

    class Settings(TrainingSettings):
        """Hyper-parameters: `--set NAME=VALUE` changes one, a YAML card beside this file a teacher's."""

        # What every trained method has. A default stands here, or in the card with its source.
        batch: int = Field(128, gt=0, description="images per update, over all devices")
        lr: float = Field(1e-3, gt=0, description="learning rate of the generator")
        lr_decay: float = Field(
            0.5, ge=0, le=1, description="last part of the budget, over which it falls"
        )
        ema_halflife: float = Field(5000, gt=0, description="half-life of the weight average, in images")
        dropout: float = Field(0, ge=0, lt=1, description="dropout probability in training")
        # What this one has of its own.
        fake_lr: float = Field(1e-3, gt=0, description="learning rate of the fake score")
        init_sigma: float = Field(2.5, gt=0, description="noise level at which the generator is called")

    settings: Settings

    def build(self, teacher: Teacher) -> None:
        """Make the networks. Copies of the teacher are trained; the teacher itself never is."""
        self.teacher = teacher.denoiser
        self.fake = teacher.trainable_copy(self.settings.dropout)
        self.generator = teacher.trainable_copy(self.settings.dropout)  # averaged, evaluated, saved

    def steps(self) -> list[Step]:
        """One iteration: the fake score's update, then the generator's, each on a fresh batch."""
        return [
            Step("fake", self.fake, self.fake_loss, Adam(self.settings.fake_lr)),
            Step("generator", self.generator, self.generator_loss, Adam(self.settings.lr)),
        ]

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images in [-1, 1] from unit Gaussian noise, in one evaluation of the generator."""
        sigma = self.settings.init_sigma
        return self.generator(sigma * z, sigma, labels)

    def fake_loss(self, batch: Batch) -> Tensor:
        """EDM's denoising loss of the fake score on generated images, one value for each, (N,)."""
        with torch.no_grad():  # this step trains the fake score alone
            x = self.generate(batch.z, batch.labels)
        return denoising_loss(self.fake, x, self.noise, batch.labels)

    def generator_loss(self, batch: Batch) -> Tensor:
        """A number for each image, (N,), whose gradient by the image is the gap of the scores."""
        x = self.generate(batch.z, batch.labels)
        with torch.no_grad():
            sigma = self.noise.sample(x)  # a noise level for each image, as the teacher was trained
            y = add_noise(x, sigma)
            gap = self.fake(y, sigma, batch.labels) - self.teacher(y, sigma, batch.labels)
        batch.logs["score_gap"] = gap.square().mean()  # one number, for the training curve
        return (gap * x).sum(pixels(x))
