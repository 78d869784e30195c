"""The mathematics every method shares: noise levels, EDM preconditioning, the denoising loss, the weight average.

Equations and symbols follow Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models"
(NeurIPS 2022, arXiv 2206.00364), called "EDM" below. Images are (N, C, H, W) in [-1, 1]; sigma is in image units.
"""

from __future__ import annotations

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
    With ``float16`` the images reach it in float16, and it computes in the type of its images; all else is as before.
    """

    float16 = False

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
        kept, scaled = c_skip * x, c_in * x
        predicted = self.model(scaled.half() if self.float16 else scaled, s.flatten().log() / 4, labels, augment_labels)
        return kept + c_out * predicted.to(x.dtype)


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


def ema_decay(images: int, batch: int, halflife: float, rampup: float = 0.05) -> float:
    """Decay of the weight average for one step: half the weight is younger than ``halflife`` images (EDM's training loop).

    ``images`` are those counted before this step; early on the half-life is at most ``rampup * images``, so that the
    average forgets the initial weights.
    """
    return 0.5 ** (batch / max(min(halflife, rampup * images), 1e-8)) if images else 0.0
