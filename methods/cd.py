"""Consistency distillation: Song, Dhariwal, Chen, Sutskever, ICML 2023, arXiv 2303.01469."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.plugin import (
    Batch,
    Denoiser,
    RealImages,
    Requirement,
    Step,
    Teacher,
    euler_step,
    heun_step,
    per_image,
    remember_randomness,
)
from methods.distance import ComparesImages, DistanceName, weights_of
from methods.trajectory import ConsistencyModel

SOLVERS = {"heun": heun_step, "euler": euler_step}


class CD(ComparesImages, ConsistencyModel):
    """Consistency distillation: the same image from both ends of a step of the teacher's (Song et al., ICML 2023)."""

    class Settings(ConsistencyModel.Settings):
        levels: int = Field(gt=1, description="noise levels of Karras' grid, between neighbours of which the teacher steps")
        solver: Literal["heun", "euler"] = Field(description="of the teacher's step")
        distance: DistanceName = Field(description="of the student's image from the target's")
        target_decay: float = Field(
            ge=0, lt=1, description="decay of the target network's weight average; 0 is the student itself"
        )

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        return (RealImages(), *weights_of(settings.distance))

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.target: nn.Module | None = None
        if self.settings.target_decay:
            self.target = teacher.trainable_copy(self.settings.dropout).requires_grad_(False).train()

    def networks(self) -> Mapping[str, nn.Module]:
        return {} if self.target is None else {"target": self.target}

    def steps(self) -> Sequence[Step]:
        _ = self.image_distance  # made now: reading LPIPS' weights is no part of the first update's time
        return [replace(step, after=self.move_target) for step in super().steps()]

    def move_target(self) -> None:
        """The target follows the student."""
        if self.target is not None:
            target: list[Tensor] = list(self.target.parameters())
            torch._foreach_lerp_(target, list(self.generator.parameters()), 1 - self.settings.target_decay)

    def student(self, y: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        return self.consistent(self.generator, y, sigma, labels)

    def consistent(self, network: Denoiser, y: Tensor, sigma: Tensor | float, labels: Tensor | None) -> Tensor:
        """The network's F with coefficients for which the result at ``sigma_min`` is ``y`` itself (paper, appendix C)."""
        s, noise = per_image(sigma, y), self.noise
        data = noise.sigma_data**2
        skip, boundary_skip = data / (s**2 + data), data / ((s - noise.sigma_min) ** 2 + data)
        out = network(y, sigma, labels) - skip * y
        return boundary_skip * y + (s - noise.sigma_min) / s * out

    def loss(self, batch: Batch) -> Tensor:
        """The distance of the student's image from the target's, one step of the teacher further; both drop the same units."""
        assert batch.real is not None
        x, labels = batch.real
        last = self.settings.levels - 1
        step = torch.randint(last, (len(x),), device=x.device).to(x.dtype)
        here, there = self.noise.karras(step / last), self.noise.karras((step + 1) / last)
        y = x + per_image(here, x) * torch.randn_like(x)
        with torch.no_grad():
            further = SOLVERS[self.settings.solver](self.teacher, y, here, there, labels)
        rewind = remember_randomness(x.device)
        image = self.student(y, here, labels)
        rewind()
        with torch.no_grad():
            target = self.consistent(self.target or self.generator, further, there, labels)
        return self.image_distance(image, target)
