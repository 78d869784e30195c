"""The Frechet distance against its closed form, scipy, torch-fidelity, clean-fid's formula, and
stored numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.plugin import Moments
from evals.fid import FID, congruence, frechet_distance
from tests.helpers import FIXTURES

GOLDEN = np.load(FIXTURES / "fid.npz")
CASES = sorted({name.partition("/")[0] for name in GOLDEN.files if "/" in name})


def measured(features, batch=64) -> dict[str, torch.Tensor]:
    """The moments of these features."""
    moments = Moments(len(features))
    for first, part in zip(
        range(0, len(features), batch), torch.as_tensor(features).split(batch), strict=True
    ):
        moments.update(part, first)
    return moments.statistics()


def distance(x, y) -> float:
    return FID().value(measured(x), FID().prepare(measured(y)))


def frechet(mu, sigma, mu_ref, sigma_ref) -> float:
    return frechet_distance(
        {"mu": mu, "sigma": sigma}, FID().prepare({"mu": mu_ref, "sigma": sigma_ref})
    )


def random_features(n, d, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator) / d**0.5
    return torch.randn(n, d, generator=generator) @ mixing + shift


@pytest.mark.parametrize("case", CASES)
def test_stored_cases(case):
    generated, reference = (measured(GOLDEN[f"{case}/feat_{side}"]) for side in ("gen", "ref"))
    np.testing.assert_allclose(generated["mu"], GOLDEN[f"{case}/mu_gen"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(generated["sigma"], GOLDEN[f"{case}/sigma_gen"], rtol=1e-9, atol=1e-10)
    value, golden = FID().value(generated, FID().prepare(reference)), float(GOLDEN[f"{case}/fid_eigh"])
    if case == "identical":
        assert abs(value) < 1e-6
    else:
        assert value == pytest.approx(golden, rel=1e-6 if "deficient" not in case else 1e-5)


@settings(max_examples=30)
@given(d=st.integers(1, 12), seed=st.integers(0, 10_000), shift=st.floats(-3, 3))
def test_commuting_gaussians_have_the_closed_form(d, seed, shift):
    """Diagonal covariances in a common basis: |shift|^2 + sum (sqrt a - sqrt b)^2."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    a, b = (torch.rand(d, generator=generator, dtype=torch.float64) * 4 for _ in range(2))
    mean = torch.full((d,), shift, dtype=torch.float64)
    found = frechet(
        mean, basis @ a.diag() @ basis.T, torch.zeros(d, dtype=torch.float64), basis @ b.diag() @ basis.T
    )
    exact = (d * shift**2 + (a.sqrt() - b.sqrt()).square().sum()).item()
    assert found == pytest.approx(exact, abs=1e-8, rel=1e-9)


def test_equals_scipys_square_root_and_torch_fidelity():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = random_features(800, 24, 0), random_features(900, 24, 1, shift=0.3)
    own = distance(x, y)
    (mu, sigma), (mu_ref, sigma_ref) = (
        (np.mean(f, 0), np.cov(f, rowvar=False)) for f in (x.double().numpy(), y.double().numpy())
    )
    root = scipy.linalg.sqrtm(sigma @ sigma_ref)
    assert own == pytest.approx(
        ((mu - mu_ref) ** 2).sum() + np.trace(sigma + sigma_ref - 2 * root.real), abs=1e-6
    )
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False
    )
    assert own == pytest.approx(theirs["frechet_inception_distance"], abs=1e-5)


@settings(max_examples=20)
@given(batch=st.integers(1, 300), seed=st.integers(0, 100))
def test_batch_size_and_order_do_not_matter(batch, seed):
    features = random_features(256, 6, seed)
    reference = FID().prepare(measured(random_features(256, 6, seed + 1)))
    order = torch.randperm(256, generator=torch.Generator().manual_seed(seed))
    expected = FID().value(measured(features, 256), reference)
    assert FID().value(measured(features[order], batch), reference) == pytest.approx(expected, abs=1e-9)


def test_rotation_and_translation_of_both_sets_do_not_matter():
    x, y = random_features(500, 8, 0).double(), random_features(500, 8, 1).double()
    rotation = torch.linalg.qr(
        torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    )[0]
    expected = distance(x, y)
    assert distance(x @ rotation + 5, y @ rotation + 5) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [2, 5, 24, 25, 60])
def test_few_images_give_the_same_by_singular_values_as_by_eigenvalues(n):
    """Up to d images the features are kept and their singular values taken; the covariance alone
    gives the same.
    """
    x, y = random_features(n, 24, 0), random_features(200, 24, 1, shift=0.3)
    few, reference = measured(x, batch=7), FID().prepare(measured(y))
    assert ("root" in few) == (n <= 24)
    without = {name: few[name] for name in ("mu", "sigma")}
    assert frechet_distance(few, reference) == pytest.approx(
        frechet_distance(without, reference), rel=1e-6
    )
    torch.testing.assert_close(
        few["sigma"], torch.from_numpy(np.cov(x.double().numpy(), rowvar=False)), rtol=1e-9, atol=1e-12
    )
    swapped = FID().value(
        measured(y), FID().prepare(few)
    )  # the distance is symmetric, and a reference may be of few images too
    assert swapped == pytest.approx(frechet_distance(few, reference), rel=1e-6)


def test_the_factor_of_a_reference_is_a_root_of_its_covariance():
    y = measured(random_features(300, 16, 1))
    prepared = FID().prepare(y)
    torch.testing.assert_close(
        prepared["factor"] @ prepared["factor"].T, y["sigma"], rtol=1e-9, atol=1e-12
    )


@settings(max_examples=20)
@given(d=st.integers(1, 40), n=st.integers(1, 40), block=st.integers(1, 50), seed=st.integers(0, 1000))
def test_half_of_the_product_is_the_lower_triangle_of_the_whole(d, n, block, seed):
    n, generator = min(d, n), torch.Generator().manual_seed(seed)
    factor = torch.randn(d, n, generator=generator, dtype=torch.float64).tril()
    sigma = torch.randn(d, d, generator=generator, dtype=torch.float64)
    sigma = sigma @ sigma.T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evals.fid.BLOCK", block)
        found = congruence(factor, sigma)
    torch.testing.assert_close(found.tril(), (factor.T @ sigma @ factor).tril(), rtol=1e-9, atol=1e-9)


def test_other_libraries_agree_on_equal_features():
    x, y = random_features(500, 16, 0), random_features(400, 16, 1, shift=0.2)
    theirs = FID().by_others(x, measured(y))
    assert set(theirs) >= {"torch-fidelity"}
    for value in theirs.values():
        assert value == pytest.approx(distance(x, y), abs=1e-6)


def test_bad_features_give_a_sentence_and_no_number():
    reference = measured(random_features(50, 4, 0))
    with pytest.raises(BenchError, match="at least 2 images, given 1"):
        measured(random_features(1, 4, 0))
    for damaged in (torch.nan, torch.inf):
        with pytest.raises(BenchError, match="not finite"):
            measured(torch.full((50, 4), damaged))
    with pytest.raises(BenchError, match="features of 5 dimensions, those of the reference 4"):
        FID().value(measured(random_features(50, 5, 0)), FID().prepare(reference))
    with pytest.raises(BenchError, match="not finite"):
        frechet_distance(reference, FID().prepare(reference) | {"mu": reference["mu"] * torch.nan})
    with pytest.raises(BenchError, match="came out as -"):
        frechet_distance(reference, FID().prepare(reference) | {"sigma": reference["sigma"] * 0.5})


def test_memory_does_not_grow_with_the_number_of_images():
    small, large = Moments(100), Moments(10**9)
    for moments in (small, large):
        moments.update(random_features(64, 8, 0), 0)
    assert sum(t.numel() for t in large.sums.values()) == sum(t.numel() for t in small.sums.values())
