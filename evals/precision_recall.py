"""Precision and recall: whether generated images look real, and whether they cover the real ones."""

from dataclasses import dataclass

from torch import Tensor

from bench.plugin import Statistics
from evals.neighbours import BallMetric, RealBallMetric, balls_around


@dataclass(frozen=True)
class Precision(RealBallMetric):
    """Share of generated images in some real image's ball (Kynkaanniemi et al. 2019); higher is better.

    arXiv 1904.06991. The ball around a real image reaches to its k-th nearest other real image.
    """

    k: int = 3

    def compare(self, x: Tensor, reference: Statistics) -> float:
        return _share(balls_around(x, reference["features"], reference["radii"]) > 0)

    def by_others(self, features: Tensor, reference: Statistics) -> dict[str, float]:
        return {"torch-fidelity": _by_torch_fidelity(features, reference, self.k)["precision"]}


@dataclass(frozen=True)
class Recall(BallMetric):
    """Share of real images in some generated image's ball (Kynkaanniemi et al. 2019); higher is better.

    arXiv 1904.06991. The ball around a generated image reaches to its k-th nearest other generated
    image.
    """

    k: int = 3

    def compare(self, x: Tensor, reference: Statistics) -> float:
        return _share(balls_around(reference["features"], x, self.radii(x)) > 0)

    def by_others(self, features: Tensor, reference: Statistics) -> dict[str, float]:
        return {"torch-fidelity": _by_torch_fidelity(features, reference, self.k)["recall"]}


def _share(which: Tensor) -> float:
    return which.double().mean().item()


def _by_torch_fidelity(features: Tensor, reference: Statistics, k: int) -> dict[str, float]:
    from torch_fidelity.metric_prc import prc_features_to_metric  # here: brings torchvision, 1.7 s

    return prc_features_to_metric(
        features.float(),
        reference["features"].float(),
        prc_neighborhood=k,
        prc_batch_size=2048,
        save_cpu_ram=True,
        verbose=False,
    )
