"""The inception score: how certain a classifier is of each image, and how varied its answers are."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.plugin import Accumulator, FeatureMetric, Statistics


class SplitProbabilities(Accumulator):
    """Sums of class probabilities and of negative entropies in each split of the images.

    Images are split after a permutation by numpy's ``RandomState``, as in torch-fidelity.
    ``permutation`` is its seed; None keeps the order of the images.
    """

    name = "probabilities"

    def __init__(self, samples: int, splits: int, permutation: int | None) -> None:
        super().__init__(samples)
        order = (
            np.arange(samples)
            if permutation is None
            else np.random.RandomState(permutation).permutation(samples)
        )
        self.splits, self.split_of = splits, torch.empty(samples, dtype=torch.int64)
        for split in range(splits):
            self.split_of[order[split * samples // splits : (split + 1) * samples // splits]] = split

    def update(self, features: Tensor, first: int) -> None:
        log_p = features.double().log_softmax(1)
        p = log_p.exp()
        if not self.sums:
            self.sums = {
                "probability": p.new_zeros(self.splits, p.shape[1]),
                "negative_entropy": p.new_zeros(self.splits),
                "count": p.new_zeros((), dtype=torch.int64),
            }
        split = self.split_of[first : first + len(p)].to(p.device)
        self.sums["count"] += len(p)
        self.sums["probability"].index_add_(0, split, p)
        self.sums["negative_entropy"].index_add_(0, split, (p * log_p).sum(1))

    def statistics(self) -> dict[str, Tensor]:
        """Return by split ``probability`` (splits, classes), ``negative_entropy`` and ``images``."""
        sums = self.complete()
        images = torch.bincount(self.split_of, minlength=self.splits)
        return {k: sums[k] for k in ("probability", "negative_entropy")} | {"images": images}


@dataclass(frozen=True)
class InceptionScore(FeatureMetric):
    """Inception score, the mean over splits (Salimans et al. 2016, arXiv 1606.03498); higher is better.

    The score of a split is ``exp`` of the mean KL divergence of ``p(class | image)`` from the mean
    ``p(class)``, by softmax in float64.
    """

    splits: int = 10
    permutation: int | None = 2020
    """Seed of torch-fidelity's order of the images, on which the score depends."""

    direction = "higher"
    feature = "logits"
    fewest = 10

    @property
    def statistics(self) -> partial[SplitProbabilities]:  # type: ignore[override]
        return partial(SplitProbabilities, splits=self.splits, permutation=self.permutation)

    def value(self, generated: Statistics, reference: Statistics | None = None) -> float:
        return split_scores(generated).mean().item()

    def by_others(self, features: Tensor, reference: Statistics | None) -> dict[str, float]:
        from torch_fidelity import metric_isc as fidelity  # here: brings torchvision, 1.7 s

        metrics = fidelity.isc_features_to_metric(
            features.double().cpu(),
            splits=self.splits,
            shuffle=self.permutation is not None,
            rng_seed=self.permutation or 0,
        )
        return {"torch-fidelity": metrics[fidelity.KEY_METRIC_ISC_MEAN]}


def split_scores(generated: Statistics) -> Tensor:
    """Return the score of each split, (splits,)."""
    marginal = generated["probability"] / generated["images"].to(generated["probability"])[:, None]
    entropy = generated["negative_entropy"] / generated["images"].to(generated["negative_entropy"])
    return (entropy - torch.special.xlogy(marginal, marginal).sum(1)).exp()
