"""Consistency distillation: Song, Dhariwal, Chen, Sutskever, ICML 2023, arXiv 2303.01469."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.plugin import (
    Batch,
    Denoiser,
    RealImages,
    Requirement,
    SameUnits,
    Step,
    Teacher,
    add_noise,
    euler_step,
    heun_step,
    per_image,
)
from methods.parts.distance import DistanceName, distance, weights_of
from methods.parts.trajectory import ConsistencyModel

SOLVERS = {"heun": heun_step, "euler": euler_step}


class CD(ConsistencyModel):
    """Consistency distillation: the same image from both ends of a step of the teacher's (Song et
    al., ICML 2023).
    """

    class Settings(ConsistencyModel.Settings):
        levels: int = Field(
            gt=1,
            description="noise levels of Karras' grid, between neighbours of which the teacher steps",
        )
        solver: Literal["heun", "euler"] = Field(description="of the teacher's step")
        distance: DistanceName = Field(description="of the student's image from the target's")
        target_decay: float = Field(
            ge=0,
            lt=1,
            description="decay of the target network's weight average; 0 is the student itself",
        )

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(), *weights_of(settings.distance))

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.target = (
            teacher.trainable_copy(self.settings.dropout).requires_grad_(False).train()
            if self.settings.target_decay
            else None
        )

    def networks(self) -> dict[str, nn.Module]:
        return {} if self.target is None else {"target": self.target}

    def prepare_training(self, teacher: Teacher) -> None:
        self.image_distance = distance(self.settings.distance, teacher)

    def steps(self) -> list[Step]:
        return [
            Step("generator", self.generator, self.loss, self.settings.adam(), after=self.move_target)
        ]

    def move_target(self) -> None:
        if self.target is not None:
            torch._foreach_lerp_(
                tuple(self.target.parameters()),
                tuple(self.generator.parameters()),
                1 - self.settings.target_decay,
            )

    def student(self, y: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        return self.consistent(self.generator, y, sigma, labels)

    def consistent(
        self, network: Denoiser, y: Tensor, sigma: Tensor | float, labels: Tensor | None
    ) -> Tensor:
        """The clean image by the network's F, with coefficients that leave ``y`` itself at ``sigma_min``.

        They are those of the paper's appendix C.
        """
        s, noise = per_image(sigma, y), self.noise
        data = noise.sigma_data**2
        skip, boundary_skip = data / (s**2 + data), data / ((s - noise.sigma_min) ** 2 + data)
        out = network(y, sigma, labels) - skip * y
        return boundary_skip * y + (s - noise.sigma_min) / s * out

    def loss(self, batch: Batch) -> Tensor:
        """The distance of the student's image from the target's, for each real image, (N,).

        The target is one step of the teacher further along the trajectory (paper, algorithm 2). Both
        passes drop the same units.
        """
        x, labels = batch.real
        last = self.settings.levels - 1
        step = torch.randint(last, (len(x),), device=x.device).to(x.dtype)
        sigma, sigma_next = self.noise.karras(step / last), self.noise.karras((step + 1) / last)
        y = add_noise(x, sigma)
        with torch.no_grad():
            y_next = SOLVERS[self.settings.solver](self.teacher, y, sigma, sigma_next, labels)
        same = SameUnits()
        with same:
            image = self.student(y, sigma, labels)
        with same, torch.no_grad():
            target = self.consistent(self.target or self.generator, y_next, sigma_next, labels)
        return self.image_distance(image, target)
