"""Score identity Distillation: Zhou, Zheng, Wang, Yin, Huang, ICML 2024, arXiv 2404.04057."""

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, Step, add_noise, pixels
from methods.parts.fake_score import DenoisingSettings, FakeScoreMethod

LOSS_SCALE = 100.0
"""Scale of the generator loss in the official code. Adam cancels it but for its eps."""


class SiD(FakeScoreMethod):
    """Score identity Distillation: data-free, one fake-score network (Zhou et al., ICML 2024)."""

    class Settings(DenoisingSettings):
        alpha: float = Field(description="weight of the quadratic term")
        tmax: float = Field(
            gt=0,
            le=1,
            description="noisiest level used, as a fraction of Karras' curve from its clean end",
        )

    settings: Settings

    def steps(self) -> list[Step]:
        """The fake score and the generator take turns, each on a batch of its own."""
        s = self.settings
        return [
            # `fake_loss` of the base is EDM's: lambda(sigma) |D_fake(x + sigma n) - x|^2 of generated x.
            Step("fake", self.fake, self.fake_loss, s.adam(s.fake_lr)),
            Step("generator", self.generator, self.generator_loss, s.adam(s.lr, s.beta1)),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """SiD's loss of each generated image ``x``, (N,), at a noise level of its own.

        Its gradient flows through ``x``, and through both denoisers by their input ``y``.
        """
        x = self.generate(batch.z, batch.labels)
        sigma = self.noise.below(x, self.settings.tmax)
        y = add_noise(x, sigma)
        real, fake = self.teacher(y, sigma, batch.labels), self.fake(y, sigma, batch.labels)
        batch.logs["score_gap"] = (real - fake).detach().square().mean()
        return LOSS_SCALE * sid_loss(x, real, fake, self.settings.alpha)


def sid_loss(x: Tensor, real: Tensor, fake: Tensor, alpha: float) -> Tensor:
    """``sum (D_real - D_fake) ((D_real - x) - alpha (D_real - D_fake)) / w`` of each image, (N,).

    This is the paper's generator loss with its detached weight for each image, ``w = mean |x - D_real|``;
    an image with a NaN anywhere counts as 0. The value is no measure of progress: with the exact fake
    score and constant weight its mean is ``(1 - alpha) E|D_real - D_fake|^2``, negative for ``alpha > 1``.
    """
    lost = torch.stack([t.isnan().flatten(1).any(1) for t in (x, real, fake)]).any(0)
    x, real, fake = (t.masked_fill(lost[:, None, None, None], 0.0) for t in (x, real, fake))
    gap = real - fake
    return (gap * ((real - x) - alpha * gap) / sid_weight(x, real)).sum(pixels(x))


def sid_weight(x: Tensor, real: Tensor) -> Tensor:
    """``max(mean |x - D_real|, 1e-5)`` of each image, (N, 1, 1, 1), without gradient."""
    return (x - real).detach().abs().mean(pixels(x), keepdim=True).clamp_min(1e-5)
