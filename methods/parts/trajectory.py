"""The base of CD, ECT and sCD: consistency models, which learn along trajectories from real images."""

from typing import Any

from pydantic import Field
from torch import Tensor

from bench.plugin import (
    Adam,
    Draw,
    FurtherLevels,
    Method,
    RealImages,
    Requirement,
    Teacher,
    TrainingSettings,
    few_steps,
)


class TrajectorySettings(TrainingSettings):
    """The settings of every method that learns along trajectories: those of its optimizer."""

    rectified: bool = Field(description="RAdam in place of Adam")
    beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(ge=0, lt=1, description="Adam's decay of the second moment")

    def adam(self) -> Adam:
        return Adam(self.lr, (self.beta1, self.beta2), rectified=self.rectified)


class ConsistencyModel(Method):
    """A student, started from the teacher, that knows the end of a trajectory from every point of it.

    It generates in one step from the largest noise level, or in more by noising its image again.
    """

    class Settings(TrajectorySettings):
        resample: FurtherLevels = Field(
            description="noise levels, falling, to which an image is noised again and denoised; "
            "each is an evaluation more"
        )

    settings: Settings
    draws = True

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(),)

    def build(self, teacher: Teacher) -> None:
        self.teacher = teacher.denoiser
        self.generator = teacher.trainable_copy(self.settings.dropout)

    @property
    def nfe(self) -> int:
        return 1 + len(self.settings.resample)

    def generate(self, z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return few_steps(self.student, z, (self.noise.sigma_max, *self.settings.resample), labels, draw)

    def student(self, y: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The clean image at the end of the trajectory through ``y``: the network's own, unless
        overridden.
        """
        return self.generator(y, sigma, labels)
