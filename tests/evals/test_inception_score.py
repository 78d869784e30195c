"""The inception score against stored numbers, torch-fidelity, and its extreme values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from evals.inception_score import InceptionScore, split_scores
from tests.helpers import FIXTURES

GOLDEN = np.load(FIXTURES / "inception_score.npz")
CASES = sorted(name.removesuffix("/probs") for name in GOLDEN.files if name.endswith("/probs"))


PERMUTATION = InceptionScore.permutation


def seen(logits, splits=10, batch=50, permutation=PERMUTATION):
    """The statistics of these logits."""
    accumulator = InceptionScore(splits, permutation).statistics(len(logits))
    for first, part in zip(
        range(0, len(logits), batch), torch.as_tensor(logits).split(batch), strict=True
    ):
        accumulator.update(part, first)
    return accumulator.statistics()


def score(logits, splits=10, batch=50, permutation=PERMUTATION) -> float:
    return InceptionScore(splits, permutation).value(seen(logits, splits, batch, permutation))


@pytest.mark.parametrize("splits", [1, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_stored_cases(case, splits):
    """The stored numbers split the rows in their own order, so they are given in the order that the
    permutation undoes.
    """
    p = torch.from_numpy(GOLDEN[f"{case}/probs"]).double()
    order = np.random.RandomState(PERMUTATION).permutation(len(p))
    logits = torch.empty_like(p)
    logits[order] = p.log()
    statistics = seen(logits, splits)
    assert InceptionScore(splits).value(statistics) == pytest.approx(
        float(GOLDEN[f"{case}/splits{splits}_mean"]), rel=1e-6
    )
    assert split_scores(statistics).std(correction=0).item() == pytest.approx(
        float(GOLDEN[f"{case}/splits{splits}_std"]), abs=1e-6
    )


def test_equals_torch_fidelity_with_its_permutation():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0)) * 3
    theirs = isc_features_to_metric(logits.double(), splits=10, shuffle=True, rng_seed=2020)
    assert score(logits) == pytest.approx(theirs["inception_score_mean"], abs=1e-7)


def test_certain_and_balanced_answers_score_the_number_of_classes_and_equal_answers_score_one():
    certain = torch.eye(10).repeat(500, 1) * 200
    assert score(certain, splits=1) == pytest.approx(10, rel=1e-9)
    assert score(torch.zeros(100, 10)) == pytest.approx(1, rel=1e-9)


@settings(max_examples=20)
@given(batch=st.integers(1, 120))
def test_batch_size_does_not_matter(batch):
    logits = torch.randn(113, 7, generator=torch.Generator().manual_seed(3))
    assert score(logits, batch=batch) == pytest.approx(score(logits, batch=113), abs=1e-12)


def test_without_a_permutation_the_splits_are_in_the_order_of_the_images():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.randn(1003, 10, generator=torch.Generator().manual_seed(0)).cumsum(0) / 10
    theirs = isc_features_to_metric(logits.double(), splits=10, shuffle=False, rng_seed=0)
    assert score(logits, permutation=None) == pytest.approx(theirs["inception_score_mean"], abs=1e-7)
    assert score(logits) != pytest.approx(theirs["inception_score_mean"], rel=0.01)
    by_others = InceptionScore(permutation=None).by_others(logits, None)
    assert by_others["torch-fidelity"] == pytest.approx(theirs["inception_score_mean"], abs=1e-12)


def test_fewer_images_than_promised_is_refused():
    accumulator = InceptionScore().statistics(100)
    accumulator.update(torch.zeros(60, 10), 0)
    with pytest.raises(BenchError, match="100 images were to be measured, and 60 have been"):
        accumulator.statistics()
