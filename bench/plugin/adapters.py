"""Networks that predict noise, v or a velocity, as EDM denoisers: a change of variables that lets every method use them.

An EDM denoiser is asked at ``y = x0 + sigma n``. Both processes here see the same image scaled by a number, at a time of their
own that follows from sigma, and from their prediction there x0 follows in turn.
The network is ``model(x_t, t, labels)``: scaled images (N, C, H, W), times (N,) in the images' type, and the class labels.
One that predicts its variance as well, in 2C channels, gives its prediction in the first C; the variance is not used.
``noise`` of an adapted network is the range it knows; the law it was trained under is another than EDM's, which stands in.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.plugin.diffusion import NoiseLevels, per_image

Prediction = Literal["epsilon", "v_prediction", "sample"]
"""What a network of the variance-preserving process predicts: the noise, v, or the image."""

SIGMA_FLOOR = 0.002
"""Lowest noise level asked of an adapted network, as in EDM: images of 256 levels are coarser."""
SIGMA_CEILING = 160.0
"""Highest. DDPM's linear schedule ends at 157; a cosine one goes to 2e4 and one of zero terminal SNR to infinity, for nothing:
at 160 the image is a 300th of the noise."""


class VPDenoiser(nn.Module):
    """Denoiser by a network of the variance-preserving process ``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps`` (DDPM, iDDPM).

    ``abar = 1 / (1 + sigma^2)``, so the network sees ``y / sqrt(1 + sigma^2)``. Its time is the index into ``alphas_cumprod``,
    between two levels interpolated linearly in ln sigma and beyond the ends the last index (the continuous time of k-diffusion).

    Args:
        model: ``model(x_t, t, labels)``; it is given fractional t.
        alphas_cumprod: abar_t for t = 0, 1, ..., falling, (T,). Levels without any noise or any image have no place in it.
        prediction: ``epsilon``, ``v_prediction`` (``v = sqrt(abar) eps - sqrt(1 - abar) x0``, Salimans & Ho 2022) or ``sample``.

    Raises UsageError for fewer than two levels, levels that do not fall, and another prediction.
    """

    times: Tensor
    log_sigmas: Tensor

    def __init__(self, model: nn.Module, alphas_cumprod: Tensor, prediction: Prediction = "epsilon") -> None:
        super().__init__()
        if prediction not in get_args(Prediction):
            raise UsageError(f"the prediction {prediction!r} is not known; expected one of {', '.join(get_args(Prediction))}.")
        alphas = alphas_cumprod.detach().double().cpu()
        times = ((alphas != 0) & (alphas != 1)).nonzero().flatten()
        sigmas = ((1 - alphas[times]) / alphas[times]).sqrt()
        if len(times) < 2 or not (sigmas.diff() > 0).all():  # nor may they be NaN
            raise UsageError(f"the {len(alphas)} alphas_cumprod do not fall from 1 towards 0; expected two or more that do.")
        self.model, self.prediction = model, prediction
        self.register_buffer("times", times.double(), persistent=False)  # the schedule is no weight of the network
        self.register_buffer("log_sigmas", sigmas.log(), persistent=False)
        within = sigmas[sigmas <= SIGMA_CEILING].tolist()
        self.noise = NoiseLevels(sigma_min=max(SIGMA_FLOOR, sigmas[0].item()), sigma_max=within[-1] if within else SIGMA_CEILING)

    def time(self, sigma: Tensor) -> Tensor:
        """The network's time at noise levels ``sigma``, (N,) to (N,)."""
        log_sigma = sigma.to(self.log_sigmas.dtype).log()
        after = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.log_sigmas) - 1)
        low, high = self.log_sigmas[after - 1], self.log_sigmas[after]
        weight = ((log_sigma - low) / (high - low)).clamp(0, 1)
        return torch.lerp(self.times[after - 1], self.times[after], weight).to(sigma.dtype)

    def forward(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        s = per_image(sigma, x)
        scale = (1 + s**2).rsqrt()  # sqrt(abar)
        predicted = _without_variance(self.model(scale * x, self.time(s.flatten()), labels), x)
        match self.prediction:
            case "epsilon":
                return x - s * predicted
            case "v_prediction":
                return scale * (scale * x - s * predicted)
            case "sample":
                return predicted


class FlowDenoiser(nn.Module):
    """Denoiser by a flow-matching network: the velocity ``n - x0`` on the line ``x_t = (1 - t) x0 + t n`` (rectified flow).

    ``t = sigma / (1 + sigma)``, so the network sees ``(1 - t) y``, and ``x0 = x_t - t v``. Noise levels end at 80 as in EDM,
    t = 0.988: at t = 1 sigma is infinite.

    Args:
        model: ``model(x_t, time_scale * t, labels)``.
        time_scale: the network's time at t = 1; 1000 for those that the library diffusers trains.
    """

    def __init__(self, model: nn.Module, time_scale: float = 1.0) -> None:
        super().__init__()
        self.model, self.time_scale = model, time_scale
        self.noise = NoiseLevels(sigma_min=SIGMA_FLOOR, sigma_max=80.0)

    def forward(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        s = per_image(sigma, x)
        t = s / (1 + s)
        x_t = x / (1 + s)  # (1 - t) x, without the cancellation
        return x_t - t * _without_variance(self.model(x_t, self.time_scale * t.flatten(), labels), x)


def _without_variance(output: Tensor, x: Tensor) -> Tensor:
    """The prediction in the type of ``x``, of a network that may predict its variance in as many channels more."""
    channels = x.shape[1]
    return (output[:, :channels] if output.shape[1] == 2 * channels else output).to(x.dtype)
