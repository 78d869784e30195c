"""Samplers: from noise to images in many evaluations of a denoiser, in a few, or in one.

Noise is unit Gaussian; a sampler that needs more of it on the way calls ``draw``, which returns a
fresh tensor like ``z``.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.plugin.diffusion import Denoiser, NoiseLevels, per_image

Draw = Callable[[], Tensor]
"""Fresh unit Gaussian noise for every image of a batch, (N, C, H, W)."""


@dataclass(frozen=True)
class Sampler:
    """EDM's sampler (Karras et al. 2022, algorithms 1 and 2): Heun's or Euler's method,
    deterministic unless it churns.

    ``churn`` is S_churn: at levels between ``churn_min`` and ``churn_max`` each step first raises
    the noise level by the factor ``1 + min(churn / steps, sqrt(2) - 1)`` with fresh noise of
    deviation ``churn_noise``.
    """

    steps: int = 18
    solver: Literal["heun", "euler"] = "heun"
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    churn_noise: float = 1.0

    @property
    def nfe(self) -> int:
        """Network evaluations for one image: Heun's last step, to noise level 0, is Euler's."""
        return 2 * self.steps - 1 if self.solver == "heun" else self.steps

    def levels(self, noise: NoiseLevels) -> list[float]:
        """``steps`` Karras levels from ``sigma_max`` down to ``sigma_min``, and the final 0 (EDM eq. 5)."""
        return [*noise.karras(torch.linspace(0, 1, self.steps, dtype=torch.float64)).tolist(), 0.0]

    def __call__(
        self,
        denoiser: Denoiser,
        z: Tensor,
        noise: NoiseLevels,
        labels: Tensor | None = None,
        draw: Draw | None = None,
    ) -> Tensor:
        """Images from ``z``, integrated from ``sigma_max * z``: the state in float64, the denoiser
        in the type of ``z``.
        """
        draw = draw or (lambda: torch.randn_like(z))

        def float64(x: Tensor, sigma: Tensor | float, labels: Tensor | None) -> Tensor:
            return denoiser(x.to(z.dtype), sigma, labels).double()

        sigmas = self.levels(noise)
        x = z.double() * sigmas[0]
        for sigma, sigma_next in itertools.pairwise(sigmas):
            sigma_hat = sigma
            # The noise is drawn at every step, as in EDM, so that the streams are the same.
            if self.churn:
                eps = draw().double()
                if self.churn_min <= sigma <= self.churn_max:
                    sigma_hat = sigma * (1 + min(self.churn / self.steps, math.sqrt(2) - 1))
                x = x + math.sqrt(sigma_hat**2 - sigma**2) * self.churn_noise * eps
            step = euler_step if sigma_next == 0 or self.solver == "euler" else heun_step
            x = step(float64, x, sigma_hat, sigma_next, labels)
        return x.to(z.dtype)


def euler_step(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor | float,
    sigma_next: Tensor | float,
    labels: Tensor | None = None,
) -> Tensor:
    """Take one step of Euler's method along ``dx / dsigma = (x - D(x; sigma)) / sigma`` (EDM eq. 1 and 3).

    The noise levels ``sigma``, above 0, and ``sigma_next`` are one for all images, or one each, (N,).
    """
    s, s_next = per_image(sigma, x), per_image(sigma_next, x)
    return x + (s_next - s) * (x - denoiser(x, sigma, labels)) / s


def heun_step(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor | float,
    sigma_next: Tensor | float,
    labels: Tensor | None = None,
) -> Tensor:
    """Take one step of Heun's method: Euler's, then again along the mean of the slopes at its two ends.

    Both noise levels are above 0; each is one for all images, or one each, (N,).
    """
    s, s_next = per_image(sigma, x), per_image(sigma_next, x)
    d = (x - denoiser(x, sigma, labels)) / s
    x_next = x + (s_next - s) * d
    return x + (s_next - s) * (d + (x_next - denoiser(x_next, sigma_next, labels)) / s_next) / 2


def few_steps(
    denoiser: Denoiser,
    z: Tensor,
    sigmas: Sequence[float],
    labels: Tensor | None = None,
    draw: Draw | None = None,
) -> Tensor:
    """Images by denoising from ``sigmas[0] * z``, then noising to each further level and denoising
    again; one level is one step.

    The multistep sampling of consistency models (Song et al. 2023, arXiv 2303.01469, algorithm 1)
    but for sigma_min, which the paper takes off the noise.
    """
    draw = draw or (lambda: torch.randn_like(z))
    x = denoiser(sigmas[0] * z, sigmas[0], labels)
    for sigma in sigmas[1:]:
        x = denoiser(x + sigma * draw().to(x.dtype), sigma, labels)
    return x
