"""Memorization: whether generated images are nearer to the training set than new real images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.plugin import BenchError, Statistics
from evals.neighbours import TIE, SetMetric, kth_distance, nearest_distance


@dataclass(frozen=True)
class Memorization(SetMetric):
    """Chance of a generated image to be nearer to the training set than a new one (Meehan et al. 2020).

    arXiv 2004.05675. ``P(d(generated) < d(new)) + P(equal) / 2`` over all pairs, where d is the
    distance to the nearest training image. It is the Mann-Whitney statistic, over the whole space
    rather than in Meehan's cells. New real images give 0.5, and copies 1. Lower is better down to
    0.5; below, generated images are further away from the training set than real ones.

    The reference has the training set as ``features``, and new real images as ``held_out`` (H, d).
    Without them each training image in turn is taken for new, and compared with the others.
    """

    direction = "lower"

    def prepare(self, reference: Statistics) -> Statistics:
        """Add ``new``, the distances of new real images to the training set, ascending."""
        training, held_out = super().prepare(reference)["features"], reference.get("held_out")
        if held_out is None:
            distances = kth_distance(training, 1)
        else:
            if (
                not len(held_out)
                or held_out.shape[1] != training.shape[1]
                or not held_out.isfinite().all()
            ):
                raise BenchError(
                    f"the reference has held-out features of shape {tuple(held_out.shape)}, which "
                    f"are none, not finite or not of the {training.shape[1]} dimensions of its "
                    "training set's; make it again."
                )
            distances = nearest_distance(held_out, training)
        return dict(reference) | {"new": distances.sort().values}

    def compare(self, x: Tensor, reference: Statistics) -> float:
        new, own = reference["new"], nearest_distance(x, reference["features"])
        below = torch.searchsorted(new, own * (1 - TIE))
        below_or_equal = torch.searchsorted(new, own * (1 + TIE), right=True)
        return 1 - (below + below_or_equal).double().mean().item() / 2 / len(new)
