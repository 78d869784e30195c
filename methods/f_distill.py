"""f-distill: Xu, Nie, Vahdat, 2025, arXiv 2502.15681, in the form of its authors' code in FastGen."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, RealImages, Requirement, Step, Teacher, add_noise, per_image, pixels
from methods.parts.discriminator import Head, feature_shape, loss_as_fake, loss_as_real
from methods.parts.distribution_matching import (
    FewStepSettings,
    backward_simulation,
    direction,
    distribution_matching_loss,
)
from methods.parts.fake_score import FakeScoreMethod

Divergence = Literal[
    "reverse-kl",
    "forward-kl",
    "jensen-shannon",
    "softened-reverse-kl",
    "neyman",
    "hellinger",
    "jeffreys",
]
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "reverse-kl": torch.ones_like,
    "forward-kl": lambda r: r,
    "jensen-shannon": lambda r: r / (1 + r),
    "softened-reverse-kl": lambda r: 1 / (1 + r),
    "neyman": lambda r: 1 / r.clamp_min(1e-8),
    "hellinger": torch.sqrt,
    "jeffreys": lambda r: 1 + r,
}
"""``h(r) = f''(r) r^2`` up to a factor, of the density ratio ``r`` of real to generated images (paper,
section 3)."""
BINS = 10
"""Equal parts of the range of noise levels, in each of which ratios are divided by their mean."""
FLOOR = 1e-6


class FDistill(FakeScoreMethod):
    """f-distill: distribution matching for any f-divergence, weighted by a discriminator's ratio
    (Xu et al., 2025).

    The discriminator is a head on the encoder of the frozen teacher.
    """

    class Settings(FewStepSettings):
        divergence: Divergence = Field(description="f-divergence that the generator descends")
        ratio_memory: float = Field(
            ge=0, lt=1, description="decay of the running mean ratios; 0 takes those of the batch"
        )

    settings: Settings

    @classmethod
    def requires(cls, settings: Any) -> tuple[Requirement, ...]:
        return (RealImages(),)

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.head = Head(*feature_shape(teacher))
        # The running means of the density ratios: of the head, so that checkpoints keep them.
        self.head.register_buffer("mean_ratios", torch.ones(BINS))

    def steps(self) -> list[Step]:
        """Updates of the fake score and the head, then the generator's, each on a fresh batch.

        In this order, as in FastGen: at first the gap of the scores is zero, and the gradient of a head that
        has learned nothing would move the generator by itself.
        """
        s = self.settings
        return [
            Step(
                "fake",
                self.fake,
                self.fake_loss,
                replace(s.adam(s.fake_lr), clip_norm=None),
                repeat=s.fake_updates,
                head=self.head,
            ),
            Step(
                "generator",
                self.generator,
                self.generator_loss,
                s.adam(s.lr),
                after=self.keep_mean_ratios,
            ),
        ]

    def generator_loss(self, batch: Batch) -> Tensor:
        """Distribution matching of each generated image, weighted by ``h(r)``, plus a logistic loss, (N,).

        Both read the same noise.
        """
        labels = batch.real[1]
        x = backward_simulation(self.generator, batch.z, self.settings.sigmas, labels)
        sigma = self.noise.grid(x, 2, 998)
        y = add_noise(x, sigma)
        real, features = self.teacher(y, sigma, labels, features=True)
        with torch.no_grad():
            fake = self.fake(y, sigma, labels)
        batch.logs["score_gap"] = (real - fake).detach().square().mean()
        logits = self.head(features)
        weighted = per_image(self.weights(batch, logits.detach(), sigma), x) * direction(
            x, real.detach(), fake, FLOOR
        )
        return distribution_matching_loss(x, weighted) + self.settings.gan * loss_as_real(logits)

    @torch.no_grad()
    def weights(self, batch: Batch, logits: Tensor, sigma: Tensor) -> Tensor:
        """``h(r)`` of each image over its mean in the whole batch, (N,), where the ratio ``r`` has mean 1
        at every noise level.

        Leaves the running means of the ratios, moved towards those of this batch, to be kept.
        """
        own = logits.clamp(-10, 10).exp().clamp(0.1, 20), sigma
        ratio, sigma = batch.whole(*own)
        place = self.place(sigma)
        count = torch.zeros(BINS, device=sigma.device, dtype=ratio.dtype).index_add(
            0, place, torch.ones_like(ratio)
        )
        mean = torch.zeros_like(count).index_add(0, place, ratio) / count.clamp_min(1)
        memory, means = self.settings.ratio_memory, self.head.get_buffer("mean_ratios")
        self.moved = torch.where(count > 0, memory * means + (1 - memory) * mean, means)

        def h(ratio: Tensor, sigma: Tensor) -> Tensor:
            weight = WEIGHTS[self.settings.divergence]
            return weight(ratio / (self.moved[self.place(sigma)] + FLOOR))

        return h(*own) / (h(ratio, sigma).mean() + FLOOR)

    def place(self, sigma: Tensor) -> Tensor:
        """The part of the range of noise levels in which each level lies, (N,), from 0."""
        edges = torch.linspace(
            self.noise.sigma_min, self.noise.sigma_max, BINS + 1, device=sigma.device, dtype=sigma.dtype
        )
        return torch.bucketize(sigma, edges[1:-1])

    def keep_mean_ratios(self) -> None:
        self.head.get_buffer("mean_ratios").copy_(self.moved)

    def fake_loss(self, batch: Batch) -> Tensor:
        """The squared error of each generated image plus the discriminator's loss of it and of a
        real one, (N,).

        Both read the same noise on the generated images.
        """
        real, labels = batch.real
        with torch.no_grad():
            x = backward_simulation(self.generator, batch.z, self.settings.sigmas, labels)
            sigma, real_sigma = (self.noise.grid(x, 2, 998) for _ in range(2))
            y = add_noise(x, sigma)
            generated = self.teacher.features(y, sigma, labels)
            actual = self.teacher.features(add_noise(real, real_sigma), real_sigma, labels)
        separation = loss_as_fake(self.head(generated)) + loss_as_real(self.head(actual))
        batch.logs["separation"] = separation.detach().mean()
        return (self.fake(y, sigma, labels) - x).square().mean(pixels(x)) + separation
