"""Inception score: how certain a classifier is of each image, and how varied its answers are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.plugin import BenchError, Metric

SPLITS = 10
PERMUTATION_SEED = 2020
"""Splits and fixed permutation as in torch-fidelity; both belong to the protocol, since the score depends on the order."""


class InceptionScore(Metric):
    """Inception score, the mean over 10 splits (Salimans et al. 2016, arXiv 1606.03498); higher is better.

    ``exp`` of the mean KL divergence of ``p(class | image)`` from the split's mean ``p(class)``, from float64 softmax.
    Streams sums for each split, so that its memory does not grow with the number of images.
    """

    direction = "higher"
    feature = "logits"
    needs_reference = False
    fewest = SPLITS

    def __init__(self, samples: int, splits: int = SPLITS) -> None:
        order = np.random.RandomState(PERMUTATION_SEED).permutation(samples)
        self.split_of = torch.empty(samples, dtype=torch.int64)
        for split in range(splits):
            self.split_of[order[split * samples // splits : (split + 1) * samples // splits]] = split
        self.splits, self.seen = splits, 0
        self.probability: Tensor | None = None
        self.negative_entropy: Tensor | None = None

    def update(self, features: Tensor) -> None:
        log_p = features.double().log_softmax(1)
        p = log_p.exp()
        if self.probability is None or self.negative_entropy is None:
            self.probability, self.negative_entropy = p.new_zeros(self.splits, p.shape[1]), p.new_zeros(self.splits)
        split = self.split_of[self.seen : self.seen + len(p)].to(p.device)
        self.seen += len(p)
        self.probability.index_add_(0, split, p)
        self.negative_entropy.index_add_(0, split, (p * log_p).sum(1))

    def statistics(self) -> dict[str, Tensor]:
        """Per split: summed class probabilities (splits, classes), summed negative entropies and number of images (splits,)."""
        if self.probability is None or self.negative_entropy is None or self.seen != len(self.split_of):
            raise BenchError(f"the inception score was promised {len(self.split_of)} images and has seen {self.seen}.")
        counts = torch.bincount(self.split_of, minlength=self.splits)
        return {"probability": self.probability, "negative_entropy": self.negative_entropy, "count": counts}

    def value(self, reference: Mapping[str, Tensor] | None = None) -> float:
        return self.split_scores().mean().item()

    def split_scores(self) -> Tensor:
        """The score of each split, (splits,). Raises BenchError where a split has no image."""
        own = self.statistics()
        count = own["count"].to(own["probability"])
        if not count.all():
            raise BenchError(f"the inception score needs an image in each of {self.splits} splits, given {self.seen} images.")
        marginal = own["probability"] / count[:, None]
        divergence = own["negative_entropy"] / count - torch.special.xlogy(marginal, marginal).sum(1)
        return divergence.exp()
