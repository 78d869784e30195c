"""The teacher itself, sampled in many steps: the row that everything is compared with."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bench import plugin
from bench.plugin import Method, Step, Teacher, heun_nfe


class TeacherSampling(Method):
    """The teacher's own Heun sampler at any number of steps; nothing is trained (Karras et al., NeurIPS 2022)."""

    class Settings(plugin.Settings):
        steps: int | None = Field(ge=1, description="Heun steps, of which NFE is 2 * steps - 1; null is the teacher's own number")

    settings: Settings
    trains = False

    def build(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.generator = teacher.denoiser

    @property
    def nfe(self) -> int:
        return heun_nfe(self.settings.steps or self.teacher.steps)

    def steps(self) -> list[Step]:
        return []

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.teacher.sample(z, labels, self.settings.steps)
