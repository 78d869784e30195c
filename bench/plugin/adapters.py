"""Adapters that turn networks predicting noise, v or a velocity into EDM denoisers for every method.

An EDM denoiser is evaluated at ``y = x0 + sigma n``. The other processes scale the same image by a
number and evaluate it at a time that follows from sigma; x0 follows from their prediction.

The network is ``model(x_t, t, labels)``: scaled images (N, C, H, W), times (N,) in the images'
number type, and class labels. If it also predicts its variance, in 2C channels, the last C are
ignored. ``noise`` of an adapted network has the range of levels that it knows, with EDM's
distribution in place of the one in training.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.plugin.diffusion import NoiseLevels, per_image

Prediction = Literal["epsilon", "v_prediction", "sample"]
"""The prediction of a variance-preserving network: the noise, v, or the image."""

SIGMA_FLOOR = 0.002
"""Lowest noise level of an adapted network, as in EDM: images of 256 levels are coarser."""
SIGMA_CEILING = 160.0
"""Highest noise level of an adapted network, where the image is a 300th of the noise. DDPM's linear
schedule ends at 157; a cosine one goes to 2e4 and one of zero terminal SNR to infinity, to no
use."""


class VPDenoiser(nn.Module):
    """EDM denoiser from a network of the variance-preserving process (DDPM, iDDPM).

    The process is ``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps``. With ``abar = 1 / (1 +
    sigma^2)`` the network sees ``y / sqrt(1 + sigma^2)``. Its time is the index into
    ``alphas_cumprod``: linear in ln sigma between two levels, and the last index beyond the ends
    (the continuous time of k-diffusion).

    Args:
        model: ``model(x_t, t, labels)``, called with fractional t.
        alphas_cumprod: abar_t for t = 0, 1, ..., falling, (T,). Levels of 0 or 1 are left out.
        prediction: ``epsilon``, ``v_prediction`` (``v = sqrt(abar) eps - sqrt(1 - abar) x0``,
            Salimans & Ho 2022) or ``sample``.

    Raises UsageError for fewer than two levels, levels that do not fall, or another prediction.
    """

    def __init__(
        self, model: nn.Module, alphas_cumprod: Tensor, prediction: Prediction = "epsilon"
    ) -> None:
        super().__init__()
        if prediction not in get_args(Prediction):
            raise UsageError(
                f"the prediction {prediction!r} is not known; expected one of "
                f"{', '.join(get_args(Prediction))}."
            )
        alphas = alphas_cumprod.detach().double().cpu()
        times = ((alphas != 0) & (alphas != 1)).nonzero().flatten()
        sigmas = ((1 - alphas[times]) / alphas[times]).sqrt()
        if len(times) < 2 or not (sigmas.diff() > 0).all():  # NaN among them
            raise UsageError(
                f"the {len(alphas)} alphas_cumprod do not fall from 1 towards 0; expected two or "
                "more that do."
            )
        self.model, self.prediction = model, prediction
        # The schedule is no weight of the network, and so in no file of weights.
        self.times = nn.Buffer(times.double(), persistent=False)
        self.log_sigmas = nn.Buffer(sigmas.log(), persistent=False)
        within = sigmas[sigmas <= SIGMA_CEILING].tolist()
        self.noise = NoiseLevels(
            sigma_min=max(SIGMA_FLOOR, sigmas[0].item()),
            sigma_max=within[-1] if within else SIGMA_CEILING,
        )

    def time(self, sigma: Tensor) -> Tensor:
        """Map noise levels ``sigma`` (N,) to the network's times (N,)."""
        log_sigma = sigma.to(self.log_sigmas.dtype).log()
        after = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.log_sigmas) - 1)
        low, high = self.log_sigmas[after - 1], self.log_sigmas[after]
        weight = ((log_sigma - low) / (high - low)).clamp(0, 1)
        return torch.lerp(self.times[after - 1], self.times[after], weight).to(sigma.dtype)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
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
    """EDM denoiser from a flow-matching network (rectified flow).

    The network predicts the velocity ``v = n - x0`` on the line ``x_t = (1 - t) x0 + t n``. With
    ``t = sigma / (1 + sigma)`` it sees ``(1 - t) y``, and ``x0 = x_t - t v``. Noise levels end at
    80 as in EDM, t = 0.988: at t = 1 sigma would be infinite.

    Args:
        model: ``model(x_t, time_scale * t, labels)``.
        time_scale: the network's time at t = 1; 1000 for networks of the library diffusers.
    """

    def __init__(self, model: nn.Module, time_scale: float = 1.0) -> None:
        super().__init__()
        self.model, self.time_scale = model, time_scale
        self.noise = NoiseLevels(sigma_min=SIGMA_FLOOR, sigma_max=80.0)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        s = per_image(sigma, x)
        t = s / (1 + s)
        x_t = x / (1 + s)  # (1 - t) x, without the cancellation
        return x_t - t * _without_variance(self.model(x_t, self.time_scale * t.flatten(), labels), x)


def _without_variance(output: Tensor, x: Tensor) -> Tensor:
    """Return the prediction in the type of ``x``, without the variance that may follow it."""
    channels = x.shape[1]
    return (output[:, :channels] if output.shape[1] == 2 * channels else output).to(x.dtype)
