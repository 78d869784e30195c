"""SiD2A, SiDA from a generator that SiD made: Zhou, Zheng, Gu, Wang, Huang, ICLR 2025, arXiv 2410.14919."""

from collections.abc import Hashable
from typing import Any, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.plugin import Method, RealImages, Requirement, StartingGenerator, Step, Teacher
from methods.parts.discriminator import feature_shape
from methods.sid import SiD
from methods.sida import SiDA


class SiD2A(Method):
    """SiDA started from SiD's generator, its own first stage or one made before (Zhou et al., ICLR
    2025).
    """

    class Settings(SiDA.Settings):
        start: str | None = Field(
            description="SiD's generator: a run's folder, its weights file, or released:NAME"
        )
        sid_share: float = Field(
            ge=0,
            lt=1,
            description="first part of the budget, in which SiD makes that generator if start is null",
        )

        @model_validator(mode="after")
        def _one_origin(self) -> Self:
            if self.start is None and not self.sid_share:
                raise ValueError(
                    "give start, or a sid_share above 0: SiD's generator comes from one of them"
                )
            return self

    settings: Settings
    score_difference = True

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(), StartingGenerator(settings.start)) if settings.start else (RealImages(),)

    def build(self, teacher: Teacher) -> None:
        feature_shape(teacher)  # SiDA follows in any case, and reads the encoder
        first = SiD if self.settings.start is None else SiDA
        self.stages = (self.settings.sid_share,) if first is SiD else ()
        self.teacher, self.trained_by = teacher, first(self.settings, teacher)
        self.generator = self.trained_by.generator

    @property
    def together(self) -> int:
        return self.settings.micro_batch  # SiDA follows

    def phase(self, seen: int) -> Hashable:
        return self.trained_by.phase(seen)

    def begin_stage(self, stage: int, average: nn.Module) -> None:
        """SiDA goes on from the weight average of SiD's generator, its fake score from the teacher."""
        self.trained_by = SiDA(self.settings, self.teacher)
        self.generator = self.trained_by.generator
        self.generator.load_state_dict(average.state_dict())

    def steps(self) -> list[Step]:
        return self.trained_by.steps()

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.generator(self.settings.init_sigma * z, self.settings.init_sigma, labels)
