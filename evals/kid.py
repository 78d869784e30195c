"""The kernel distance between the features of generated and of real images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.plugin import Statistics, UsageError
from evals.neighbours import SetMetric


@dataclass(frozen=True)
class KID(SetMetric):
    """Kernel distance of generated to real images (Binkowski et al. 2018, 1801.01401); lower is better.

    The mean over random subsets of an unbiased estimate: equal distributions give 0 on average, and
    values slightly below 0 are valid. numpy's ``RandomState`` draws each subset, first of generated
    and then of real images, as in torch-fidelity.
    """

    subsets: int = 100
    size: int = 1000
    """Number of images in a subset, drawn without replacement."""
    seed: int = 2020

    direction = "lower"

    def __post_init__(self) -> None:
        if self.subsets < 1 or self.size < 2:
            raise UsageError(
                f"KID is a mean over subsets of images, given {self.subsets} of {self.size}; take "
                "1 or more of at least 2 images."
            )

    @property
    def fewest(self) -> int:  # type: ignore[override]
        return self.size

    def compare(self, x: Tensor, reference: Statistics) -> float:
        rng = np.random.RandomState(self.seed)

        def subset(features: Tensor) -> Tensor:
            rows = rng.choice(len(features), self.size, replace=False)
            return features[torch.from_numpy(rows).to(features.device)].double()

        draws = (squared_mmd(subset(x), subset(reference["features"])) for _ in range(self.subsets))
        return torch.stack(list(draws)).mean().item()

    def by_others(self, features: Tensor, reference: Statistics) -> dict[str, float]:
        """Compute KID by torch-fidelity; clean-fid draws other subsets, and so has another number."""
        from torch_fidelity import metric_kid as fidelity  # here: brings torchvision, 1.7 s

        values = fidelity.kid_features_to_metric(
            features.float(),
            reference["features"].float(),
            kid_subsets=self.subsets,
            kid_subset_size=self.size,
            rng_seed=self.seed,
            verbose=False,
        )
        return {"torch-fidelity": values[fidelity.KEY_METRIC_KID_MEAN]}


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased squared MMD of two sets (n, d) under the kernel ``(x.y / d + 1)^3``."""
    n, d = x.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.addmm(a.new_ones(()), a, b.T, alpha=1 / d).pow_(3)

    xx, yy = kernel(x, x), kernel(y, y)
    within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
    return within / (n * (n - 1)) - 2 * kernel(x, y).mean()
