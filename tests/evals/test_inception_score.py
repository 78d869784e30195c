"""The inception score against stored numbers, torch-fidelity, and its extreme values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from evals.inception_score import PERMUTATION_SEED, InceptionScore
from tests.conftest import FIXTURES

GOLDEN = np.load(FIXTURES / "inception_score.npz")
CASES = sorted(name.removesuffix("/probs") for name in GOLDEN.files if name.endswith("/probs"))


def score(logits, splits=10, batch=50) -> InceptionScore:
    metric = InceptionScore(len(logits), splits)
    for part in torch.as_tensor(logits).split(batch):
        metric.update(part)
    return metric


@pytest.mark.parametrize("splits", [1, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_stored_cases(case, splits):
    """The stored numbers split the rows in their own order, so they are given in the order that the permutation undoes."""
    p = torch.from_numpy(GOLDEN[f"{case}/probs"]).double()
    order = np.random.RandomState(PERMUTATION_SEED).permutation(len(p))
    logits = torch.empty_like(p)
    logits[order] = p.log()
    metric = score(logits, splits)
    assert metric.value() == pytest.approx(float(GOLDEN[f"{case}/splits{splits}_mean"]), rel=1e-6)
    assert metric.split_scores().std(correction=0).item() == pytest.approx(float(GOLDEN[f"{case}/splits{splits}_std"]), abs=1e-6)


def test_equals_torch_fidelity_with_its_permutation():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0)) * 3
    theirs = isc_features_to_metric(logits.double(), splits=10, shuffle=True, rng_seed=2020)
    assert score(logits).value() == pytest.approx(theirs["inception_score_mean"], abs=1e-7)


def test_certain_and_balanced_answers_score_the_number_of_classes_and_equal_answers_score_one():
    certain = torch.eye(10).repeat(500, 1) * 200
    assert score(certain, splits=1).value() == pytest.approx(10, rel=1e-9)
    assert score(torch.zeros(100, 10)).value() == pytest.approx(1, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 120))
def test_batch_size_does_not_matter(batch):
    logits = torch.randn(113, 7, generator=torch.Generator().manual_seed(3))
    assert score(logits, batch=batch).value() == pytest.approx(score(logits, batch=113).value(), abs=1e-12)


def test_fewer_images_than_promised_is_refused():
    metric = InceptionScore(100)
    metric.update(torch.zeros(60, 10))
    with pytest.raises(BenchError, match="promised 100 images and has seen 60"):
        metric.value()
