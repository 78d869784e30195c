"""The Frechet distance against its closed form, scipy, torch-fidelity, clean-fid's formula, and stored numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from evals.fid import FID, frechet_distance
from tests.conftest import FIXTURES

GOLDEN = np.load(FIXTURES / "fid.npz")
CASES = sorted({name.partition("/")[0] for name in GOLDEN.files if "/" in name})


def measured(features, batch=64) -> FID:
    metric = FID(len(features))
    for part in torch.as_tensor(features).split(batch):
        metric.update(part)
    return metric


def random_features(n, d, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator) / d**0.5
    return torch.randn(n, d, generator=generator) @ mixing + shift


@pytest.mark.parametrize("case", CASES)
def test_stored_cases(case):
    generated, reference = (measured(GOLDEN[f"{case}/feat_{side}"]) for side in ("gen", "ref"))
    np.testing.assert_allclose(generated.statistics()["mu"], GOLDEN[f"{case}/mu_gen"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(generated.statistics()["sigma"], GOLDEN[f"{case}/sigma_gen"], rtol=1e-9, atol=1e-10)
    value, golden = generated.value(reference.statistics()), float(GOLDEN[f"{case}/fid_eigh"])
    if case == "identical":
        assert abs(value) < 1e-6
    else:
        assert value == pytest.approx(golden, rel=1e-6 if "deficient" not in case else 1e-5)


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 12), seed=st.integers(0, 10_000), shift=st.floats(-3, 3))
def test_commuting_gaussians_have_the_closed_form(d, seed, shift):
    """Diagonal covariances in a common basis: |shift|^2 + sum (sqrt a - sqrt b)^2."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    a, b = (torch.rand(d, generator=generator, dtype=torch.float64) * 4 for _ in range(2))
    mean = torch.full((d,), shift, dtype=torch.float64)
    found = frechet_distance(mean, basis @ a.diag() @ basis.T, torch.zeros(d, dtype=torch.float64), basis @ b.diag() @ basis.T)
    exact = (d * shift**2 + (a.sqrt() - b.sqrt()).square().sum()).item()
    assert found == pytest.approx(exact, abs=1e-8, rel=1e-9)


def test_equals_scipys_square_root_and_torch_fidelity():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = random_features(800, 24, 0), random_features(900, 24, 1, shift=0.3)
    own = measured(x).value(measured(y).statistics())
    (mu, sigma), (mu_ref, sigma_ref) = (
        (np.mean(f, 0), np.cov(f, rowvar=False)) for f in (x.double().numpy(), y.double().numpy())
    )
    root = scipy.linalg.sqrtm(sigma @ sigma_ref)
    assert own == pytest.approx(((mu - mu_ref) ** 2).sum() + np.trace(sigma + sigma_ref - 2 * root.real), abs=1e-6)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)
    assert own == pytest.approx(theirs["frechet_inception_distance"], abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 300), seed=st.integers(0, 100))
def test_batch_size_and_order_do_not_matter(batch, seed):
    features, reference = random_features(256, 6, seed), measured(random_features(256, 6, seed + 1)).statistics()
    order = torch.randperm(256, generator=torch.Generator().manual_seed(seed))
    expected = measured(features, 256).value(reference)
    assert measured(features[order], batch).value(reference) == pytest.approx(expected, abs=1e-9)


def test_rotation_and_translation_of_both_sets_do_not_matter():
    x, y = random_features(500, 8, 0).double(), random_features(500, 8, 1).double()
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    expected = measured(x).value(measured(y).statistics())
    assert measured(x @ rotation + 5).value(measured(y @ rotation + 5).statistics()) == pytest.approx(expected, abs=1e-9)


def test_bad_features_give_a_sentence_and_no_number():
    reference = measured(random_features(50, 4, 0)).statistics()
    with pytest.raises(BenchError, match="at least 2 images"):
        measured(random_features(1, 4, 0)).value(reference)
    with pytest.raises((BenchError, RuntimeError)):
        measured(torch.full((50, 4), torch.nan)).value(reference)
