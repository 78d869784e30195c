"""Diff-Instruct: Luo, Hu, Zhang, Sun, Li, Zhang, NeurIPS 2023, arXiv 2305.18455."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.plugin import Batch, per_image, pixels
from methods.fake_score import FakeScoreMethod


class DiffInstruct(FakeScoreMethod):
    """Diff-Instruct: data-free, integral KL divergence over noise levels (Luo et al., NeurIPS 2023)."""

    def generator_loss(self, batch: Batch) -> Tensor:
        """``<sg[D_fake(y) - D_real(y)], x>``: its gradient is sigma^2 times that of KL(fake || real) at each noise level.

        Both denoisers run in evaluation mode; the authors run both in training mode with equal dropout masks.
        """
        x = self.generate(batch.z, batch.labels)
        with torch.no_grad():
            sigma = self.noise.sample(x)
            y = x + per_image(sigma, x) * torch.randn_like(x)
            gap = self.fake(y, sigma, batch.labels) - self.teacher(y, sigma, batch.labels)
        batch.logs["score_gap"] = gap.square().mean()
        return (gap * x).sum(pixels(x))
