"""Score Implicit Matching: Luo, Huang, Geng, Kolter, Qi, NeurIPS 2024, arXiv 2410.16794."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, Step, add_noise, pixels
from methods.parts.fake_score import DenoisingSettings, FakeScoreMethod


class SIM(FakeScoreMethod):
    """Score implicit matching: data-free, any smooth distance of the two scores (Luo et al.,
    NeurIPS 2024).
    """

    class Settings(DenoisingSettings):
        distance: Literal["pseudo-huber", "l2"] = Field(
            description="of the two denoisers' outputs, over all pixels of an image"
        )
        huber_c: float = Field(
            ge=0, description="pseudo-Huber's c, in units of the root of an image's number of pixels"
        )
        tmax: float = Field(
            gt=0,
            le=1,
            description="noisiest level used, as a fraction of Karras' curve from its clean end",
        )

    settings: Settings

    def steps(self) -> list[Step]:
        s = self.settings
        return [
            # `fake_loss` of the base is EDM's: lambda(sigma) |D_fake(x + sigma n) - x|^2 of generated x.
            Step("fake", self.fake, self.fake_loss, s.adam(s.fake_lr)),
            Step("generator", self.generator, self.generator_loss, s.adam(s.lr, s.beta1)),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """The implicit matching loss of each generated image ``x``, (N,).

        Its gradient flows through ``x``, and through both denoisers by their input ``y``.
        """
        x = self.generate(batch.z, batch.labels)
        sigma = self.noise.below(x, self.settings.tmax)
        y = add_noise(x, sigma)
        real, fake = self.teacher(y, sigma, batch.labels), self.fake(y, sigma, batch.labels)
        batch.logs["score_gap"] = (real - fake).detach().square().mean()
        c = None if self.settings.distance == "l2" else self.settings.huber_c * math.sqrt(x[0].numel())
        return sim_loss(x, real, fake, c)


def sim_loss(x: Tensor, real: Tensor, fake: Tensor, c: float | None) -> Tensor:
    """``sum (D_real - D_fake) (D_fake - x) / sqrt(|D_real - D_fake|^2 + c^2)`` of each image, (N,).

    There is no divisor if ``c`` is None. This is the paper's score-gradient theorem for
    ``d(u) = sqrt(|u|^2 + c^2) - c`` and ``d(u) = |u|^2 / 2``; the quotient is differentiated too.
    """
    gap = real - fake
    product = (gap * (fake - x)).sum(pixels(x))
    if c is None:
        return product
    tiny = torch.finfo(gap.dtype).tiny  # where both agree and c is 0
    return product * (gap.square().sum(pixels(x)) + c**2).clamp_min(tiny).rsqrt()
