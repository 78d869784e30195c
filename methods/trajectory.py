"""What the methods that learn along the teacher's trajectories have in common: one network, and real images with noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import Field
from torch import Tensor

from bench.plugin import (
    Adam,
    Batch,
    Draw,
    FurtherLevels,
    Method,
    RealImages,
    Requirement,
    Step,
    Teacher,
    TrainingSettings,
    few_steps,
)


class TrajectoryMethod(Method):
    """A student that starts as the teacher and learns from real images."""

    class Settings(TrainingSettings):
        rectified: bool = Field(description="RAdam in place of Adam")
        beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment")
        beta2: float = Field(ge=0, lt=1, description="Adam's decay of the second moment")

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        return (RealImages(),)

    def build(self, teacher: Teacher) -> None:
        self.of, self.teacher = teacher, teacher.denoiser
        self.generator = teacher.trainable_copy(self.settings.dropout)

    def steps(self) -> Sequence[Step]:
        s = self.settings
        return [Step("generator", self.generator, self.loss, Adam(s.lr, (s.beta1, s.beta2), rectified=s.rectified))]

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The loss of each real image, (N,)."""


class ConsistencyModel(TrajectoryMethod):
    """A student that knows the end of the trajectory from every point of it: one step from the largest noise level, or more."""

    class Settings(TrajectoryMethod.Settings):
        resample: FurtherLevels = Field(
            description="noise levels, falling, to which an image is noised again and denoised; each is an evaluation more"
        )

    settings: Settings

    @property
    def nfe(self) -> int:
        return 1 + len(self.settings.resample)

    def generate(self, z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return few_steps(self.student, z, (self.noise.sigma_max, *self.settings.resample), labels, draw)

    def student(self, y: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The clean image at the end of the trajectory through ``y``: the network as it is, unless a method says otherwise."""
        images: Tensor = self.generator(y, sigma, labels)
        return images
