"""Teachers whose distribution and denoiser are known in closed form, for tests and figures."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.plugin import (
    ImageSpec,
    InMemory,
    NoiseLevels,
    Sampler,
    Teacher,
    UsageError,
    fork_rng,
    per_image,
    refuse_path,
    to_uint8,
)
from teachers.networks.mlp import ResidualMLP

DRAWS = 20_000
"""Number of exact samples in the data set of an analytic teacher."""


class GaussianDenoiser(nn.Module):
    """Exact denoiser ``(s^2 y + sigma^2 mu) / (s^2 + sigma^2)`` of independent pixels ``N(mu, s^2)``.

    ``mu`` and ``log_s`` are parameters, so that a trainable copy spans all generators ``x = m + tau
    z`` with one value for all pixels.
    """

    def __init__(self, mu: float, s: float) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(mu))
        self.log_s = nn.Parameter(torch.tensor(math.log(s)))

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        noise, data = per_image(sigma, x) ** 2, (2 * self.log_s).exp()
        return (data * x + noise * self.mu) / (data + noise)


class Gaussian(Teacher):
    """Independent Gaussian pixels, 1x8x8, mean 0.1, deviation 0.2: every quantity has a closed form."""

    image_spec = ImageSpec(channels=1, resolution=8)
    noise = NoiseLevels()
    sampler = Sampler(steps=18)
    dataset = "gaussian"
    protocol = "pixels-5k"
    mu, s = 0.1, 0.2

    def load(self, path: Path | None) -> nn.Module:
        refuse_weights("gaussian", path)
        return GaussianDenoiser(self.mu, self.s)


class RingDenoiser(nn.Module):
    """Exact denoiser of equal Gaussians of deviation ``s`` on a circle, plus a trainable correction.

    ``D(y) = sum_k w_k (s^2 y + sigma^2 c_k) / (s^2 + sigma^2)`` with centres c_k and ``w =
    softmax(-|y - c_k|^2 / 2 (s^2 + sigma^2))``. The correction is an EDM-scaled network that starts
    at exactly zero; only trainable copies change it.
    """

    centres: Tensor

    def __init__(self, radius: float, s: float, modes: int = 8) -> None:
        super().__init__()
        angles = torch.arange(modes) * (2 * math.pi / modes)
        self.register_buffer("centres", radius * torch.stack([angles.cos(), angles.sin()], dim=1))
        self.s = s
        with fork_rng(torch.device("cpu")):
            torch.default_generator.manual_seed(0)  # its hidden weights are constants; no GPU is seeded
            self.correction = ResidualMLP(channels=2, resolution=1, width=96, blocks=2)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        noise = per_image(sigma, x)
        variance = self.s**2 + noise**2
        y, total = x.flatten(1), variance.flatten(1)
        weights = (-(y[:, None] - self.centres).square().sum(2) / (2 * total)).softmax(1)
        exact = (self.s**2 * x + noise**2 * (weights @ self.centres)[:, :, None, None]) / variance
        scaled = self.correction(x * (noise**2 + 0.25).rsqrt(), noise.flatten().log() / 4)
        return exact + noise * (noise**2 + 0.25).rsqrt() * 0.5 * scaled


class GMMRing(Teacher):
    """Eight Gaussians of deviation 0.05 on a circle of radius 0.7 in the plane: modes to lose."""

    image_spec = ImageSpec(channels=2, resolution=1)
    noise = NoiseLevels()
    sampler = Sampler(steps=18)
    dataset = "gmm-ring"
    protocol = "pixels-5k"
    radius, s = 0.7, 0.05

    def load(self, path: Path | None) -> nn.Module:
        refuse_weights("gmm-ring", path)
        return RingDenoiser(self.radius, self.s)


def refuse_weights(name: str, path: Path | None) -> None:
    """Raise UsageError if ``path`` is not None: an analytic teacher has no weights to read."""
    if path is not None:
        raise UsageError(
            f"the teacher {name!r} has a closed form and reads no weights, given {str(path)!r}; "
            "leave the path out."
        )


class GaussianImages(InMemory):
    """Exact samples of the ``gaussian`` teacher's distribution."""

    def __init__(self, path: Path | None = None) -> None:
        refuse_path("gaussian", path)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(DRAWS, *Gaussian.image_spec.shape, generator=generator)
        super().__init__(to_uint8(Gaussian.mu + Gaussian.s * noise))


class RingPoints(InMemory):
    """Exact samples of the ``gmm-ring`` teacher's distribution, with the index of their mode."""

    def __init__(self, path: Path | None = None) -> None:
        refuse_path("gmm-ring", path)
        generator = torch.Generator().manual_seed(0)
        centres = RingDenoiser(GMMRing.radius, GMMRing.s).centres
        modes = torch.randint(len(centres), (DRAWS,), generator=generator)
        draws = centres[modes] + GMMRing.s * torch.randn(DRAWS, 2, generator=generator)
        super().__init__(to_uint8(draws[:, :, None, None]), modes)
