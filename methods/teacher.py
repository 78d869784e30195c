"""The teacher itself, sampled in many steps: the row that everything is compared with."""

from dataclasses import replace
from typing import Literal

from pydantic import Field
from torch import Tensor

from bench import plugin
from bench.plugin import Draw, Method, Sampler, Step, Teacher


class TeacherSampling(Method):
    """The teacher itself, by its own sampler or by other steps; nothing is trained (Karras et al.,
    NeurIPS 2022).
    """

    class Settings(plugin.Settings):
        steps: int | None = Field(
            ge=1, description="noise levels; null is the teacher's own number, as for the next two"
        )
        solver: Literal["heun", "euler"] | None = Field(
            description="heun (NFE 2 * steps - 1) or euler (NFE steps)"
        )
        churn: float | None = Field(
            ge=0,
            description="S_churn, fresh noise along the way; "
            "null with steps or solver chosen is 0, deterministic",
        )

    settings: Settings
    trains = False
    draws = True

    def build(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.generator = teacher.denoiser
        choices = self.settings.model_dump(include={"steps", "solver", "churn"}, exclude_none=True)
        if choices:  # a churn that suits the teacher's own steps suits no others
            choices.setdefault("churn", 0.0)
        self.sampler: Sampler = replace(teacher.sampler, **choices)

    @property
    def nfe(self) -> int:
        return self.sampler.nfe

    def steps(self) -> list[Step]:
        return []

    def generate(self, z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        return self.teacher.sample(z, labels, self.sampler, draw)
