"""The mathematics every method shares: noise levels, EDM preconditioning, the denoising loss, the
weight average.

Equations and symbols follow Karras et al., "Elucidating the Design Space of Diffusion-Based
Generative Models" (NeurIPS 2022, arXiv 2206.00364), called "EDM" below. Images are (N, C, H, W) in
[-1, 1]; sigma is in image units.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Denoiser = Callable[..., Tensor]
"""``D(x, sigma, labels=None, augment_labels=None) -> x0``: noisy images and their noise levels to
clean images.
"""


def pixels(values: Tensor) -> tuple[int, ...]:
    """The dimensions of a batch that belong to one image: all but the first."""
    return tuple(range(1, values.ndim))


def per_image(sigma: Tensor | float, x: Tensor) -> Tensor:
    """One noise level for all images, or one each (N,), shaped (N, 1, 1, 1) to multiply the images
    ``x``.
    """
    if not isinstance(sigma, Tensor):
        sigma = x.new_full((len(x),), sigma)  # a fill on the device: no copy from the host
    return sigma.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class NoiseLevels:
    """The noise levels a teacher knows: its range, Karras' grid over it, and the law it was trained
    under (EDM Table 1).
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    p_mean: float = -1.2
    p_std: float = 1.2

    def karras(self, u: Tensor) -> Tensor:
        """Noise level at position ``u`` in [0, 1] of Karras' curve: 0 is ``sigma_max``, 1 is
        ``sigma_min`` (EDM eq. 5).
        """
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (high + u * (low - high)) ** self.rho

    def sample(self, x: Tensor) -> Tensor:
        """One training noise level for each image of ``x``, (N,): ``ln sigma ~ N(p_mean, p_std^2)``
        (EDM sec. 5).
        """
        return lognormal(x, self.p_mean, self.p_std)

    def grid(self, x: Tensor, lowest: int, highest: int, points: int = 1000) -> Tensor:
        """A level for each image of ``x``, (N,), uniform over points ``lowest`` to ``highest`` of
        Karras' grid, 0 the cleanest.

        How DMD and its successors draw noise levels.
        """
        index = torch.randint(lowest, highest + 1, (len(x),), device=x.device)
        return self.karras(1 - index.to(x.dtype) / (points - 1))

    def below(self, x: Tensor, tmax: float) -> Tensor:
        """A level for each image of ``x``, (N,), uniform over the clean part ``tmax`` of Karras'
        curve (SiD).
        """
        return self.karras(1 - tmax * torch.rand(len(x), device=x.device, dtype=x.dtype))

    def weight(self, sigma: Tensor) -> Tensor:
        """The weight lambda(sigma) that gives every level unit loss at initialisation (EDM Table 1)."""
        return 1 / sigma**2 + 1 / self.sigma_data**2


def lognormal(x: Tensor, mean: float, std: float) -> Tensor:
    """One noise level for each image of ``x``, (N,): ``ln sigma ~ N(mean, std^2)``."""
    return (torch.randn(len(x), device=x.device, dtype=x.dtype) * std + mean).exp()


def add_noise(x: Tensor, sigma: Tensor | float) -> Tensor:
    """The images ``x`` with fresh Gaussian noise of level ``sigma``, one for all images or one
    each, (N,).
    """
    return x + per_image(sigma, x) * torch.randn_like(x)


def fork_rng(device: torch.device) -> AbstractContextManager[None]:
    """Restore the random state of the CPU and of ``device`` at the end of a ``with`` block.

    What is drawn in the block does not show outside of it: a pass of a network after the block drops the
    same units as a pass at its beginning.
    """
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


class EDMPrecond(nn.Module):
    """EDM preconditioning: ``D(y; sigma) = c_skip y + c_out F(c_in y; ln(sigma) / 4)`` (EDM eq. 7
    and Table 1).

    ``model`` is F: it takes the scaled images (N, C, H, W), the noise label (N,), and the class and
    augmentation labels. If it has ``encode`` and ``decode``, of which it is the composition, then
    the denoiser gives its ``features`` too. With ``half_type`` the images reach it in that type,
    and it computes in the type of its images; all else is as before.
    """

    half_type: torch.dtype | None = None
    model: Any  # of its parts, encode and decode may be used

    def __init__(self, model: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.model, self.sigma_data = model, sigma_data

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
        *,
        features: bool = False,
    ) -> Any:
        """Clean images, like ``x``; with ``features`` also the output of the encoder on the way
        (N, F, h, w), in float32.
        """
        s = per_image(sigma, x)
        variance = s**2 + self.sigma_data**2
        c_skip, c_out = self.sigma_data**2 / variance, s * self.sigma_data * variance.rsqrt()
        inputs = self._inputs(x, s, labels, augment_labels)
        encoded = self.model.encode(*inputs) if features else None
        predicted = self.model(*inputs) if encoded is None else self.model.decode(encoded)
        denoised = c_skip * x + c_out * predicted.to(x.dtype)
        return denoised if encoded is None else (denoised, _images(encoded.features))

    def features(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """The output of the network's encoder alone, (N, F, h, w), in float32: what a discriminator
        reads.
        """
        return _images(
            self.model.encode(*self._inputs(x, per_image(sigma, x), labels, augment_labels)).features
        )

    def _inputs(
        self, x: Tensor, s: Tensor, labels: Tensor | None, augment_labels: Tensor | None
    ) -> tuple[Any, ...]:
        scaled = x * (s**2 + self.sigma_data**2).rsqrt()
        return scaled.to(self.half_type or x.dtype), s.flatten().log() / 4, labels, augment_labels


@dataclass
class Encoded:
    """The output of a network's encoder, as its decoder takes it."""

    features: Tensor
    """Its last output, (N, F, h, w), or (N, F) of a network without places."""
    embedding: Tensor
    """Of noise level and labels."""
    skips: list[Tensor]
    """Earlier outputs that the decoder takes."""


def _images(features: Tensor) -> Tensor:
    return (features if features.ndim == 4 else features[:, :, None, None]).to(
        torch.promote_types(features.dtype, torch.float32)
    )


def denoising_loss(
    denoiser: Denoiser,
    x: Tensor,
    noise: NoiseLevels,
    labels: Tensor | None = None,
    augment_labels: Tensor | None = None,
) -> Tensor:
    """EDM's training loss of each clean image of ``x``, summed over its pixels, (N,) (EDM eq. 2 and 8)."""
    sigma = noise.sample(x)
    error = denoiser(add_noise(x, sigma), sigma, labels, augment_labels) - x
    return noise.weight(sigma) * error.square().sum(pixels(x))


def ema_decay(images: int, batch: int, halflife: float, rampup: float = 0.05) -> float:
    """Decay of the weight average for one step: half the weight is younger than ``halflife`` images
    (EDM's training loop).

    ``images`` are those counted before this step; early on the half-life is at most
    ``rampup * images``, so that the average forgets the initial weights.
    """
    return 0.5 ** (batch / max(min(halflife, rampup * images), 1e-8)) if images else 0.0
