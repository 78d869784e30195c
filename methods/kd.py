"""Knowledge distillation: Luhman, Luhman, 2021, arXiv 2101.02388."""

from typing import Any

from pydantic import Field
from torch import Tensor

from bench.plugin import Adam, Batch, Method, Requirement, Step, Teacher, TeacherPairs, TrainingSettings
from methods.parts.distance import DistanceName, distance, weights_of


class KD(Method):
    """Regression of the teacher's image on the noise that it came from; pairs and nothing else
    (Luhman and Luhman, 2021).
    """

    class Settings(TrainingSettings):
        pairs: int = Field(gt=0, description="noise-image pairs that the teacher makes")
        pair_steps: int = Field(gt=0, description="Heun steps of the teacher for each pair")
        distance: DistanceName = Field(
            description="of the regression: l1, l2, or lpips for colour images"
        )
        beta1: float = Field(ge=0, lt=1, description="Adam's decay of the first moment")
        beta2: float = Field(ge=0, lt=1, description="Adam's decay of the second moment")
        warmup_updates: int = Field(
            ge=0, description="updates over which the learning rate rises linearly"
        )

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (TeacherPairs(settings.pairs, settings.pair_steps), *weights_of(settings.distance))

    def build(self, teacher: Teacher) -> None:
        self.generator = teacher.trainable_copy(self.settings.dropout)

    def prepare_training(self, teacher: Teacher) -> None:
        self.image_distance = distance(self.settings.distance, teacher)

    def steps(self) -> list[Step]:
        s = self.settings
        adam = Adam(s.lr, (s.beta1, s.beta2), warmup_updates=s.warmup_updates)
        return [Step("generator", self.generator, self.loss, adam)]

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.generator(self.noise.sigma_max * z, self.noise.sigma_max, labels)

    def loss(self, batch: Batch) -> Tensor:
        """The distance of the generator's image from the teacher's, for each pair, (N,)."""
        z, images, labels = batch.pairs
        return self.image_distance(self.generate(z, labels), images)
