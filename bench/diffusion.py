"""The mathematics every method shares: noise levels, EDM preconditioning, the denoising loss, Heun's sampler.

Equations and symbols follow Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models"
(NeurIPS 2022, arXiv 2206.00364), called "EDM" below. Images are (N, C, H, W) in [-1, 1]; sigma is in image units.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Denoiser = Callable[..., Tensor]
"""``D(x, sigma, labels=None, augment_labels=None) -> x0``: noisy images and their noise levels to clean images."""


def pixels(values: Tensor) -> tuple[int, ...]:
    """The dimensions of a batch that belong to one image: all but the first."""
    return tuple(range(1, values.ndim))


def per_image(sigma: Tensor | float, x: Tensor) -> Tensor:
    """One noise level for all images, or one each (N,), shaped (N, 1, 1, 1) to multiply the images ``x``."""
    if not isinstance(sigma, Tensor):
        sigma = x.new_full((len(x),), sigma)  # a fill on the device: no copy from the host
    return sigma.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class NoiseLevels:
    """The noise levels a teacher knows: its range, Karras' grid over it, and the law it was trained under (EDM Table 1)."""

    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    p_mean: float = -1.2
    p_std: float = 1.2

    def karras(self, u: Tensor) -> Tensor:
        """Noise level at position ``u`` in [0, 1] of Karras' curve: 0 is ``sigma_max``, 1 is ``sigma_min`` (EDM eq. 5)."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (high + u * (low - high)) ** self.rho

    def sample(self, x: Tensor) -> Tensor:
        """One training noise level for each image of ``x``, (N,): ``ln sigma ~ N(p_mean, p_std^2)`` (EDM sec. 5)."""
        return (torch.randn(len(x), device=x.device, dtype=x.dtype) * self.p_std + self.p_mean).exp()

    def weight(self, sigma: Tensor) -> Tensor:
        """The weight lambda(sigma) that gives every level unit loss at initialisation (EDM Table 1)."""
        return 1 / sigma**2 + 1 / self.sigma_data**2


class EDMPrecond(nn.Module):
    """EDM preconditioning: ``D(y; sigma) = c_skip y + c_out F(c_in y; ln(sigma) / 4)`` (EDM eq. 7 and Table 1).

    ``model`` is F: it takes the scaled images (N, C, H, W), the noise label (N,), and the class and augmentation labels.
    """

    def __init__(self, model: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.model, self.sigma_data = model, sigma_data

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        s = per_image(sigma, x)
        variance = s**2 + self.sigma_data**2
        c_skip, c_out, c_in = self.sigma_data**2 / variance, s * self.sigma_data * variance.rsqrt(), variance.rsqrt()
        return c_skip * x + c_out * self.model(c_in * x, s.flatten().log() / 4, labels, augment_labels)


def denoising_loss(
    denoiser: Denoiser,
    x: Tensor,
    noise: NoiseLevels,
    labels: Tensor | None = None,
    augment_labels: Tensor | None = None,
) -> Tensor:
    """EDM's training loss of each clean image of ``x``, summed over its pixels, (N,) (EDM eq. 2 and 8)."""
    sigma = noise.sample(x)
    y = x + per_image(sigma, x) * torch.randn_like(x)
    error = denoiser(y, sigma, labels, augment_labels) - x
    return noise.weight(sigma) * error.square().sum(pixels(x))


def heun_levels(steps: int, noise: NoiseLevels) -> list[float]:
    """``steps`` Karras levels from ``sigma_max`` down to ``sigma_min``, and the final 0 (EDM eq. 5)."""
    u = torch.linspace(0, 1, steps, dtype=torch.float64) if steps > 1 else torch.zeros(1, dtype=torch.float64)
    return [*noise.karras(u).tolist(), 0.0]


def heun(denoiser: Denoiser, z: Tensor, steps: int, noise: NoiseLevels, labels: Tensor | None = None) -> Tensor:
    """Integrate the probability-flow ODE from ``sigma_max * z`` to an image by Heun's method (EDM algorithm 1, S_churn = 0).

    Costs ``2 * steps - 1`` evaluations. The state is kept in float64, as in EDM; the denoiser works in the type of ``z``.
    The last step, to 0, is Euler's and returns the denoiser's output itself.
    """
    levels = heun_levels(steps, noise)

    def slope(state: Tensor, sigma: float) -> Tensor:
        return (state - denoiser(state.to(z.dtype), sigma, labels).double()) / sigma

    y = z.double() * levels[0]
    for here, there in itertools.pairwise(levels):
        d = slope(y, here)
        euler = y + (there - here) * d
        y = euler if there == 0 else y + (there - here) * (d + slope(euler, there)) / 2
    return y.to(z.dtype)


def heun_nfe(steps: int) -> int:
    """Network evaluations of ``heun`` with ``steps`` noise levels."""
    return 2 * steps - 1


def ema_decay(images: int, batch: int, halflife: float, rampup: float = 0.05) -> float:
    """Decay of the weight average for one step: half the weight is younger than ``halflife`` images (EDM's training loop).

    ``images`` are those counted before this step; early on the half-life is at most ``rampup * images``, so that the
    average forgets the initial weights.
    """
    return 0.5 ** (batch / max(min(halflife, rampup * images), 1e-8)) if images else 0.0
