"""Progressive distillation: Salimans, Ho, ICLR 2022, arXiv 2202.00512, on EDM's noise levels."""

import itertools
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.plugin import (
    Batch,
    Method,
    RealImages,
    Requirement,
    Step,
    Teacher,
    add_noise,
    euler_step,
    per_image,
)
from methods.parts.distance import DistanceName, distance, weights_of
from methods.parts.trajectory import TrajectorySettings


class PD(Method):
    """Progressive distillation: one step learns two of the teacher's, again and again (Salimans and
    Ho, ICLR 2022).

    Each stage has half the steps of the one before, and its student is the next one's teacher. The
    budget is shared equally, but the stages of two steps and of one get twice as much as the others.
    """

    class Settings(TrajectorySettings):
        first_steps: int = Field(gt=0, description="steps of the first stage's student")
        last_steps: int = Field(
            gt=0,
            description="steps of the last stage's student, which are its evaluations for one image",
        )
        weight: Literal["truncated-snr", "uniform"] = Field(
            description="of a noise level: max(1 / sigma^2, 1), or 1"
        )
        distance: DistanceName = Field(description="of the student's image from its target")
        clip_norm: float = Field(gt=0, description="largest L2 norm of the gradient")

        @model_validator(mode="after")
        def _halving(self) -> Self:
            ratio, rest = divmod(self.first_steps, self.last_steps)
            if rest or ratio & (ratio - 1):
                raise ValueError(
                    "first_steps must be last_steps doubled some number of times, such as 64 and 1"
                )
            return self

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(), *weights_of(settings.distance))

    def build(self, teacher: Teacher) -> None:
        s = self.settings
        self.generator = teacher.trainable_copy(s.dropout)
        self.stage_teacher = teacher.trainable_copy().requires_grad_(False).eval()
        self.plan = [s.first_steps >> i for i in range((s.first_steps // s.last_steps).bit_length())]
        ends = list(itertools.accumulate(2 if steps <= 2 else 1 for steps in self.plan))
        self.stages = [end / ends[-1] for end in ends[:-1]]
        self.student_steps = s.first_steps

    def networks(self) -> dict[str, nn.Module]:
        return {"stage teacher": self.stage_teacher}

    def begin_stage(self, stage: int, average: nn.Module) -> None:
        """The student, not its average, is the next stage's teacher."""
        self.stage_teacher.load_state_dict(self.generator.state_dict())
        self.student_steps = self.plan[stage]

    def prepare_training(self, teacher: Teacher) -> None:
        self.image_distance = distance(self.settings.distance, teacher)

    def steps(self) -> list[Step]:
        adam = replace(self.settings.adam(), clip_norm=self.settings.clip_norm)
        return [Step("generator", self.generator, self.loss, adam)]

    @property
    def nfe(self) -> int:
        return self.student_steps

    def level(self, step: Tensor | float) -> Tensor:
        """The noise level after this number of the student's steps, which may be a fraction."""
        return self.noise.karras(torch.as_tensor(step) / self.student_steps)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        sigmas = [self.level(float(i)).item() for i in range(self.student_steps + 1)]
        x = sigmas[0] * z
        for sigma, sigma_next in itertools.pairwise(sigmas):
            x = euler_step(self.generator, x, sigma, sigma_next, labels)
        return x

    def loss(self, batch: Batch) -> Tensor:
        """The weighted distance of the student's image from its target, for each real image, (N,).

        The target is the image whose one Euler step ends where two steps of the stage's teacher do
        (paper, algorithm 2).
        """
        x, labels = batch.real
        step = torch.randint(self.student_steps, (len(x),), device=x.device).double()
        start, middle, end = (self.level(step + part) for part in (0, 0.5, 1))
        y = add_noise(x, start)
        target = two_steps_in_one(self.stage_teacher, y, start, middle, end, labels)
        weight = (
            (1 / start**2).clamp_min(1)
            if self.settings.weight == "truncated-snr"
            else torch.ones_like(start)
        )
        return weight.to(x.dtype) * self.image_distance(
            self.generator(y, start.to(x.dtype), labels), target
        )


@torch.no_grad()
def two_steps_in_one(
    teacher: nn.Module,
    y: Tensor,
    start: Tensor,
    middle: Tensor,
    end: Tensor,
    labels: Tensor | None = None,
) -> Tensor:
    """``y - start (y3 - y) / (end - start)``, like ``y``, where two Euler steps of the teacher lead
    from ``y`` to ``y3``.

    Everything but the network computes in float64.
    """

    def denoiser(state: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        return teacher(state.to(y.dtype), sigma.to(y.dtype), labels).double()

    y1 = y.double()
    y2 = euler_step(denoiser, y1, start, middle, labels)
    y3 = euler_step(denoiser, y2, middle, end, labels)
    return (y1 - per_image(start / (end - start), y1) * (y3 - y1)).to(y.dtype)
