"""Diff-Instruct: Luo, Hu, Zhang, Sun, Li, Zhang, NeurIPS 2023, arXiv 2305.18455."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, Teacher, per_image, pixels, remember_randomness, set_dropout
from methods.fake_score import DenoisingFake


class DiffInstruct(DenoisingFake):
    """Diff-Instruct: data-free, integral KL divergence over noise levels (Luo et al., NeurIPS 2023)."""

    class Settings(DenoisingFake.Settings):
        score_dropout: bool = Field(
            description="drop the same units of both score networks in the generator's step, as its authors"
        )

    settings: Settings

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        set_dropout(self.teacher, self.settings.dropout)  # it has no effect but where the teacher is asked to drop

    def generator_loss(self, batch: Batch) -> Tensor:
        """``<sg[D_fake(y) - D_real(y)], x>``: its gradient is sigma^2 times that of KL(fake || real) at each noise level."""
        x = self.generate(batch.z, batch.labels)
        with torch.no_grad():
            sigma = self.noise.sample(x)
            y = x + per_image(sigma, x) * torch.randn_like(x)
            real, fake = self.denoised(y, sigma, batch.labels)
            gap = fake - real
        batch.logs["score_gap"] = gap.square().mean()
        return (gap * x).sum(pixels(x))

    def denoised(self, y: Tensor, sigma: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the teacher and the fake score make of ``y``, both with the same dropout or both without."""
        if not self.settings.score_dropout:
            return self.teacher(y, sigma, labels), self.fake(y, sigma, labels)
        rewind = remember_randomness(y.device)
        real = self.teacher.train()(y, sigma, labels)
        rewind()
        fake = self.fake.train()(y, sigma, labels)
        for network in (self.teacher, self.fake):
            network.eval()
        return real, fake
