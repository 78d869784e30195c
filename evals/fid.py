"""Frechet distance between Gaussians fitted to features of generated and of real images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.plugin import BenchError, Metric


class FID(Metric):
    """Frechet distance of generated to real images in feature space (Heusel et al. 2017, arXiv 1706.08500); lower is better.

    Streams the sum and the outer products of the features in float64, so that its memory does not grow with their number.
    """

    direction = "lower"
    feature = "pool"
    needs_reference = True

    def __init__(self, samples: int) -> None:
        self.count = 0
        self.sum: Tensor | None = None
        self.outer: Tensor | None = None

    def update(self, features: Tensor) -> None:
        x = features.double()
        if self.sum is None or self.outer is None:
            self.sum, self.outer = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1])
        self.count += len(x)
        self.sum += x.sum(0)
        self.outer.addmm_(x.T, x)

    def statistics(self) -> dict[str, Tensor]:
        """Mean ``mu`` (d,), covariance ``sigma`` (d, d) with N - 1, and ``count``. Raises BenchError below two images."""
        if self.sum is None or self.outer is None or self.count < 2:
            raise BenchError(f"FID needs at least 2 images, given {self.count}; ask for more samples.")
        mu = self.sum / self.count
        sigma = (self.outer - self.count * torch.outer(mu, mu)) / (self.count - 1)
        return {"mu": mu, "sigma": sigma, "count": torch.tensor(self.count)}

    def value(self, reference: Mapping[str, Tensor] | None) -> float:
        if reference is None:
            raise BenchError("FID needs reference statistics of real images.")
        own = self.statistics()
        return frechet_distance(own["mu"], own["sigma"], reference["mu"].to(own["mu"]), reference["sigma"].to(own["mu"]))


def frechet_distance(mu: Tensor, sigma: Tensor, mu_ref: Tensor, sigma_ref: Tensor) -> float:
    """``|mu - mu_ref|^2 + tr(S + S_ref - 2 (S S_ref)^(1/2))`` in float64 (Dowson and Landau 1982).

    With a factor ``H H' = S_ref`` the eigenvalues of ``S S_ref`` are those of the symmetric ``H' S H``, which are real and
    not negative; it holds for singular covariances too, without adding anything to their diagonal.
    Raises BenchError if the distance comes out negative or not finite by more than rounding.
    """
    values, vectors = torch.linalg.eigh(sigma_ref)
    factor = vectors * values.clamp_min(0).sqrt()
    roots = torch.linalg.eigvalsh(factor.T @ sigma @ factor).clamp_min(0).sqrt()
    distance = ((mu - mu_ref).square().sum() + sigma.trace() + sigma_ref.trace() - 2 * roots.sum()).item()
    if not distance >= -1e-6 * max(1.0, sigma_ref.trace().item()):
        raise BenchError(f"the Frechet distance came out as {distance}; the features are not finite or the statistics damaged.")
    return max(distance, 0.0)
