"""Continuous-time consistency distillation (sCD): Lu, Song, ICLR 2025, arXiv 2410.11081."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.plugin import Batch, Denoiser, SameUnits, Step, Teacher, lognormal, per_image, pixels
from methods.parts.trajectory import ConsistencyModel


class SCD(ConsistencyModel):
    """Continuous-time consistency distillation: the student's derivative along the teacher's flow
    (Lu and Song, ICLR 2025).

    Written in TrigFlow: ``x_t = cos(t) x_0 + sin(t) z`` with ``t = atan(sigma / sigma_data)`` and
    ``z`` of deviation ``sigma_data``; the clean image is ``cos(t) x_t - sin(t) sigma_data F``.
    """

    class Settings(ConsistencyModel.Settings):
        p_mean: float = Field(description="mean of the logarithm of the noise levels")
        p_std: float = Field(gt=0, description="their standard deviation")
        warmup_images: int = Field(
            ge=0, description="images over which the tangent's second part comes in"
        )
        clip_norm: float | None = Field(
            gt=0, description="largest L2 norm of the gradient; null leaves it as it is"
        )
        eps: float = Field(gt=0, description="Adam's")
        normaliser: float = Field(
            gt=0, description="c of g / (|g| + c), |g| the root mean square of an image's tangent"
        )

    settings: Settings

    def build(self, teacher: Teacher) -> None:
        super().build(teacher)
        self.log_variance = LogVariance()

    def steps(self) -> list[Step]:
        s = self.settings
        adam = replace(s.adam(), eps=s.eps, clip_norm=s.clip_norm)
        return [Step("generator", self.generator, self.loss, adam, head=self.log_variance)]

    def phase(self, seen: int) -> int | None:
        return None if seen < self.settings.warmup_images else 0

    def loss(self, batch: Batch) -> Tensor:
        """``e^-w mean (F - F^- - g)^2 / (sigma P) + w`` of each real image of ``P`` pixels, (N,).

        ``F^-`` is ``F`` without gradient, so that the value is that of the tangent ``g`` alone.
        """
        s, (x, labels) = self.settings, batch.real
        data = self.noise.sigma_data
        sigma = lognormal(x, s.p_mean, s.p_std).clamp(self.noise.sigma_min, self.noise.sigma_max)
        t = (sigma / data).atan()
        cos, sin = per_image(t.cos(), x), per_image(t.sin(), x)
        x_t = cos * x + sin * data * torch.randn_like(x)
        with torch.no_grad():
            flow = velocity(self.teacher, x_t, t, data, labels)
        ramp = min(1.0, batch.seen / s.warmup_images) if s.warmup_images else 1.0
        same = SameUnits()
        with same:
            predicted = velocity(self.generator, x_t, t, data, labels)
        with same:
            tangent = self.tangent(x_t, t, predicted.detach(), flow, ramp, labels)
        batch.logs["tangent"] = tangent.square().mean()
        error = (
            ((predicted.double() - predicted.detach().double()) / data - tangent)
            .square()
            .mean(pixels(x))
        )
        w = self.log_variance(sigma).double()
        return (-w).exp() * error / (sigma.double() * x[0].numel()) + w

    @torch.no_grad()
    def tangent(
        self, x_t: Tensor, t: Tensor, own: Tensor, flow: Tensor, ramp: float, labels: Tensor | None
    ) -> Tensor:
        """``cos(t) df/dt`` along the flow, normalised, in float64, like ``x_t``; its second part
        times ``ramp``.

        ``own`` is the student's velocity at ``x_t`` and ``flow`` the teacher's.
        """
        cos, sin = per_image(t.cos(), x_t), per_image(t.sin(), x_t)

        def student(x_t: Tensor, t: Tensor) -> Tensor:
            return velocity(self.generator, x_t, t, self.noise.sigma_data, labels)

        with in_float32(self.generator):
            _, change = derivative(student, (x_t, t), (cos * sin * flow, t.cos() * t.sin()))
        cos, sin = cos.double(), sin.double()
        g = -(cos**2) * (own.double() - flow) - ramp * (cos * sin * x_t + change)
        root_mean_square = g.square().mean(pixels(g), keepdim=True).sqrt()
        return g / (root_mean_square + self.settings.normaliser)


def velocity(denoiser: Denoiser, x_t: Tensor, t: Tensor, data: float, labels: Tensor | None) -> Tensor:
    """``sigma_data F = (cos(t) x_t - D(x_t / cos(t); sigma_data tan(t))) / sin(t)``, like ``x_t``.

    On a trajectory it is ``dx_t / dt``.
    """
    cos, sin = per_image(t.cos(), x_t), per_image(t.sin(), x_t)
    return (cos * x_t - denoiser(x_t / cos, data * t.tan(), labels)) / sin


def derivative(
    function: Callable[..., Tensor], at: tuple[Tensor, ...], along: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """The function's value at a point and its derivative along a direction, in one pass forward."""
    # MATH is the only attention with a forward derivative.
    with (
        sdpa_kernel(SDPBackend.MATH),
        warnings.catch_warnings(),
    ):
        # The warning is torch's own, at the first use of jvp.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        value, change, *_ = torch.func.jvp(function, at, along)
    return value.detach(), change.detach()


@contextmanager
def in_float32(denoiser: Any) -> Iterator[None]:
    """Compute an EDM denoiser in float32 in this context, in whatever precision it is trained.

    On a GPU a layer normalisation of 16 bits has a derivative of 32, which the next layer refuses.
    """
    half_type = getattr(denoiser, "half_type", None)
    denoiser.half_type = None
    try:
        yield
    finally:
        denoiser.half_type = half_type


class LogVariance(nn.Module):
    """The learned ``w(sigma)``, (N,) to (N,): one linear layer, which starts at zero, on cosines and sines of
    ``ln(sigma) / 4`` at geometrically spaced frequencies, as FastGen's reads the network's embedding.

    A function of the angle t cannot follow: in it all levels below sigma 0.02 are one.
    """

    def __init__(self, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.linear = nn.Linear(2 * frequencies, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, sigma: Tensor) -> Tensor:
        octaves = torch.linspace(-3, 3, self.frequencies, device=sigma.device, dtype=sigma.dtype)
        angles = sigma.log()[:, None] / 4 * 2**octaves
        return self.linear(torch.cat([angles.cos(), angles.sin()], dim=1)).flatten()
