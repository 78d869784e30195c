"""SiD2A, which is SiDA from a generator that SiD has made: Zhou, Zheng, Gu, Wang, Huang, ICLR 2025, arXiv 2410.14919."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.plugin import Batch, RealImages, Requirement, StartingGenerator, Step, Teacher
from methods.sid import SiD
from methods.sida import SiDA


class SiD2A(SiDA):
    """SiDA started from SiD's generator, its own first stage or one made before (Zhou et al., ICLR 2025)."""

    class Settings(SiDA.Settings):
        start: str | None = Field(description="SiD's generator: a run's folder, its weights file, or released:NAME")
        sid_share: float = Field(
            ge=0, lt=1, description="first part of the budget, in which SiD makes that generator if start is null"
        )

        @model_validator(mode="after")
        def _one_origin(self) -> Self:
            if self.start is None and not self.sid_share:
                raise ValueError("give start, or a sid_share above 0: SiD's generator comes from one of them")
            return self

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        return (RealImages(), StartingGenerator(settings.start)) if settings.start else (RealImages(),)

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        starts_by_sid = self.settings.start is None
        self.rule: type[SiD] = SiD if starts_by_sid else SiDA
        self.stages = (self.settings.sid_share,) if starts_by_sid else ()

    def begin_stage(self, stage: int, average: nn.Module) -> None:
        """The generator goes on from its average, the fake score from the teacher, by SiDA's rule."""
        self.rule = SiDA
        self.generator.load_state_dict(average.state_dict())
        self.fake.load_state_dict(self.teacher.state_dict())

    def steps(self) -> Sequence[Step]:
        return self.rule.steps(self)

    def fake_loss(self, batch: Batch) -> Tensor:
        return self.rule.fake_loss(self, batch)

    def generator_loss(self, batch: Batch) -> Tensor:
        return self.rule.generator_loss(self, batch)
