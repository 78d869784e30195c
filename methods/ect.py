"""Easy consistency tuning: Geng, Pokle, Luo, Lin, Kolter, 2024, arXiv 2406.14548."""

import torch
from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, SameUnits, Step, lognormal, per_image, pixels
from methods.parts.trajectory import ConsistencyModel

CLOSEST = 0.999
"""Largest ratio of the two noise levels, as in FastGen."""


class ECT(ConsistencyModel):
    """Easy consistency tuning: from the teacher's weights, on real images, without the teacher
    (Geng et al., 2024).
    """

    class Settings(ConsistencyModel.Settings):
        p_mean: float = Field(description="mean of the logarithm of the noise levels")
        p_std: float = Field(gt=0, description="their standard deviation")
        ratio: float = Field(
            gt=1, description="q: the gap between the two levels shrinks by it from stage to stage"
        )
        stage_images: int = Field(gt=0, description="images of each stage")
        huber_c: float = Field(
            ge=0, description="c of sqrt(|.|^2 + c^2) - c, the distance of two images; 0 is the norm"
        )

    settings: Settings

    def steps(self) -> list[Step]:
        return [Step("generator", self.generator, self.loss, self.settings.adam())]

    def phase(self, seen: int) -> int:
        return seen // self.settings.stage_images

    def loss(self, batch: Batch) -> Tensor:
        """The distance of the student's images at two levels of one noise, over the gap of the levels.

        One value for each real image, (N,). Both passes drop the same units.
        """
        s, (x, labels) = self.settings, batch.real
        sigma = lognormal(x, s.p_mean, s.p_std)
        lower = lower_level(sigma, s.ratio, batch.seen // s.stage_images)
        noise = torch.randn_like(x)
        same = SameUnits()
        with same:
            image = self.student(x + per_image(sigma, x) * noise, sigma, labels)
        with same, torch.no_grad():
            some = lower.clamp_min(self.noise.sigma_min * 1e-3)  # its answer at level 0 is not used
            target = self.student(x + per_image(lower, x) * noise, some, labels).nan_to_num()
            target = torch.where(per_image(lower, x) > 0, target, x)
        squared = (image - target).square().sum(pixels(x))
        tiny = torch.finfo(x.dtype).tiny  # the norm's derivative at 0
        return ((squared + s.huber_c**2).clamp_min(tiny).sqrt() - s.huber_c) / (sigma - lower)


def lower_level(sigma: Tensor, ratio: float, stage: int) -> Tensor:
    """``sigma`` times ``1 - ratio^-(stage + 1) (1 + 8 sigmoid(-sigma))``, which goes from 0 to ``CLOSEST``.

    The sigmoid schedule of the authors' code, with k = 8 and b = 1. Their code has no limit, and divides by
    zero where a late stage rounds the gap away; FastGen's is taken.
    """
    nearness = 1 - ratio ** -(stage + 1) * (1 + 8 * torch.sigmoid(-sigma))
    return sigma * nearness.clamp(0, CLOSEST)
