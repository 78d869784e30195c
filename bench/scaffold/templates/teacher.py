"""new-teacher: a working example of a teacher, to be made into your own.

A teacher is a denoiser: noisy images and their noise level to clean images. This one knows of each pixel of
the digits its mean and deviation alone, for which the best denoiser is a line of arithmetic. Yours is a
network with weights; what changes is `Denoiser`, and the file that `load` reads.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from bench.plugin import (
    ImageSpec,
    NoiseLevels,
    Sampler,
    Teacher,
    from_uint8,
    load_weights,
    open_dataset,
    per_image,
    read_weights,
    register_teacher,
)


class Denoiser(nn.Module):
    """The clean image that is most likely behind a noisy one: ``D(x, sigma, labels) -> x0``.

    Of a network F that predicts something else, `EDMPrecond(F)`, `VPDenoiser(F, alphas_cumprod)` and
    `FlowDenoiser(F)` of `bench.plugin` make such a denoiser.
    """

    def __init__(self, image_spec: ImageSpec) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(image_spec.shape))
        self.log_std = nn.Parameter(torch.zeros(image_spec.shape))

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        noise = per_image(sigma, x) ** 2  # one level for all images, or one each
        data = (2 * self.log_std).exp()
        return (data * x + noise * self.mean) / (data + noise)


@register_teacher("new-teacher")
class NewTeacher(Teacher):
    """Each pixel of the digits as a Gaussian of its own (an example to begin from)."""

    # Facts that methods and evaluations build on. With classes: ImageSpec(1, 8, label_dim=10).
    image_spec = ImageSpec(channels=1, resolution=8)
    noise = NoiseLevels(sigma_min=0.002, sigma_max=80.0)  # image units; images are in [-1, 1]
    sampler = Sampler(steps=18)  # EDM's Heun sampler, by which the teacher itself is measured
    dataset = "digits"  # what it was trained on, as in `bench list datasets`, or None
    protocol = "digits-5k"  # how its students are measured, as in `bench list protocols`, or None

    def load(self, path: Path | None) -> nn.Module:
        """Read the weights from `path` (`--teacher-path FILE`), or from their usual place."""
        network = Denoiser(self.image_spec)
        # Your own: read_weights(path or Path(__file__).with_name("weights.safetensors")).
        tensors = self.fitted() if path is None else read_weights(path)
        load_weights(network, tensors, f"the weights of {self.name}")
        return network

    def fitted(self) -> dict[str, Tensor]:
        """The weights by name, which this example computes from the images themselves."""
        images, _ = next(open_dataset(self.dataset).batches(10_000))
        x = from_uint8(images)
        return {"mean": x.mean(0), "log_std": x.std(0).clamp_min(0.05).log()}
