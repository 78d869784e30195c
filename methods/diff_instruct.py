"""Diff-Instruct: Luo, Hu, Zhang, Sun, Li, Zhang, NeurIPS 2023, arXiv 2305.18455."""

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, SameUnits, Step, Teacher, add_noise, pixels, set_dropout
from methods.parts.fake_score import DenoisingSettings, FakeScoreMethod


class DiffInstruct(FakeScoreMethod):
    """Diff-Instruct: data-free, integral KL divergence over noise levels (Luo et al., NeurIPS 2023)."""

    class Settings(DenoisingSettings):
        score_dropout: bool = Field(
            description="drop the same units of both score networks in the generator's step, as its authors"
        )

    settings: Settings

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        # This has no effect but where `score_dropout` has the teacher drop units.
        set_dropout(self.teacher, self.settings.dropout)

    def steps(self) -> list[Step]:
        s = self.settings
        return [
            # `fake_loss` of the base is EDM's: lambda(sigma) |D_fake(x + sigma n) - x|^2 of generated x.
            Step("fake", self.fake, self.fake_loss, s.adam(s.fake_lr)),
            Step("generator", self.generator, self.generator_loss, s.adam(s.lr, s.beta1)),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """``<sg[D_fake(y) - D_real(y)], x>`` of each generated image ``x``, (N,), where ``y`` is
        ``x`` with noise.

        Its gradient is sigma^2 times that of KL(fake || real) at each noise level.
        """
        x = self.generate(batch.z, batch.labels)
        with torch.no_grad():
            sigma = self.noise.sample(x)
            real, fake = self.denoised(add_noise(x, sigma), sigma, batch.labels)
            gap = fake - real
        batch.logs["score_gap"] = gap.square().mean()
        return (gap * x).sum(pixels(x))

    def denoised(self, y: Tensor, sigma: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The clean images that the teacher and the fake score make of ``y``.

        Both drop the same units, or neither drops any.
        """
        if not self.settings.score_dropout:
            return self.teacher(y, sigma, labels), self.fake(y, sigma, labels)
        same = SameUnits()
        with same:
            real = self.teacher.train()(y, sigma, labels)
        with same:
            fake = self.fake.train()(y, sigma, labels)
        for network in (self.teacher, self.fake):
            network.eval()
        return real, fake
