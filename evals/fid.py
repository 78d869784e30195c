"""The Frechet distance between Gaussians fitted to the features of generated and of real images."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.plugin import Accumulator, BenchError, FeatureMetric, Moments, Statistics

BLOCK = 256
"""Number of columns multiplied at once."""


@dataclass(frozen=True)
class FID(FeatureMetric):
    """Frechet distance of generated to real images (Heusel et al. 2017, 1706.08500); lower is better."""

    direction = "lower"
    feature = "pool"
    statistics: ClassVar[type[Accumulator]] = Moments
    reference_statistics = Moments

    def prepare(self, reference: Statistics) -> Statistics:
        """Add ``factor``, a lower triangular H with ``H H' = sigma``, which every distance needs."""
        root = reference["root"] if "root" in reference else covariance_root(reference["sigma"])
        return dict(reference) | {"factor": torch.linalg.qr(root, mode="r").R.T}

    def value(self, generated: Statistics, reference: Statistics) -> float:
        return frechet_distance(
            generated, {name: reference[name].to(generated["mu"]) for name in ("mu", "sigma", "factor")}
        )

    def by_others(self, features: Tensor, reference: Statistics) -> Mapping[str, float]:
        # Here because torch-fidelity and clean-fid bring torchvision, 1.7 s.
        from cleanfid import fid as cleanfid
        from torch_fidelity import metric_fid as fidelity

        own = fidelity.fid_features_to_statistics(features.double().cpu())
        real = {name: reference[name].double().cpu().numpy() for name in ("mu", "sigma")}
        metrics = fidelity.fid_statistics_to_metric(own, real, verbose=False)
        values = {"torch-fidelity": float(metrics[fidelity.KEY_METRIC_FID])}
        with warnings.catch_warnings(action="ignore"):  # of singular matrices and a deprecated argument
            with suppress(TypeError):  # from scipy 1.18 on, which has dropped that argument
                values["clean-fid"] = float(
                    cleanfid.frechet_distance(own["mu"], own["sigma"], real["mu"], real["sigma"])
                )
        return values


@dataclass(frozen=True)
class FDDINOv2(FID):
    """Frechet distance in features of DINOv2, which see more than Inception's (Stein et al. 2023)."""

    feature = "dinov2"


def covariance_root(sigma: Tensor) -> Tensor:
    """Return R (d, d) with ``R' R = sigma``, for a covariance that may be singular."""
    values, vectors = torch.linalg.eigh(sigma)
    return values.clamp_min(0).sqrt()[:, None] * vectors.T


def congruence(factor: Tensor, sigma: Tensor) -> Tensor:
    """Return the lower triangle of ``H' S H`` for a lower triangular H (d, n).

    It takes half of the work, since the zeros of H are left out.
    """
    product = factor.new_zeros(factor.shape[1], factor.shape[1])
    for columns in torch.arange(factor.shape[1]).split(BLOCK):
        first, last = int(columns[0]), int(columns[-1]) + 1
        rows = factor[first:, first:last].T @ sigma[first:]
        product[first:last, :last] = rows @ factor[:, :last]
    return product


def frechet_distance(generated: Statistics, reference: Statistics) -> float:
    """Compute ``|mu - mu_ref|^2 + tr(S + S_ref - 2 (S S_ref)^(1/2))`` (Dowson and Landau 1982).

    In float64. With a lower triangular ``factor`` H of the reference, the eigenvalues of ``S
    S_ref`` are those of the symmetric ``H' S H``, which are real and not negative. Their roots are
    also the singular values of ``R H``, where ``R' R = S`` is the ``root`` of fewer images than
    dimensions. Both hold for singular covariances, with nothing added to their diagonal.

    Raises BenchError if the dimensions differ, or if the distance is negative by more than
    rounding, or not finite.
    """
    mu, sigma = generated["mu"], generated["sigma"]
    mu_ref, sigma_ref, factor = (reference[name] for name in ("mu", "sigma", "factor"))
    if mu.shape != mu_ref.shape:
        raise BenchError(
            f"the generated images have features of {len(mu)} dimensions, those of the reference "
            f"{len(mu_ref)}; give a reference made with the same extractor."
        )
    if not all(t.isfinite().all() for t in (mu, sigma, mu_ref, sigma_ref)):
        raise BenchError(
            "the statistics of the features are not finite; the extractor's weights or the "
            "reference are damaged."
        )
    if "root" in generated:
        roots = torch.linalg.svdvals(generated["root"] @ factor)
    else:
        # eigvalsh reads the lower triangle alone.
        roots = torch.linalg.eigvalsh(congruence(factor, sigma)).clamp_min(0).sqrt()
    distance = (
        (mu - mu_ref).square().sum() + sigma.trace() + sigma_ref.trace() - 2 * roots.sum()
    ).item()
    if not distance >= -1e-6 * max(1.0, sigma_ref.trace().item()):
        raise BenchError(
            f"the Frechet distance came out as {distance}; the reference's covariance may be damaged."
        )
    return max(distance, 0.0)
