"""Precision, recall, density and coverage against their definitions, torch-fidelity, and what equal
distributions give.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.errors import BenchError, UsageError
from evals import neighbours
from evals.density_coverage import Coverage, Density
from evals.precision_recall import Precision, Recall

ALL = [Precision, Recall, Density, Coverage]


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def measure(kind, x, real, **parameters):
    metric = kind(**parameters)
    return metric.value({"features": x}, metric.prepare({"features": real}))


def by_definition(x, real, k):
    """All four from whole tables: balls with their edge for precision and recall, without it for
    density and coverage.
    """
    table = lambda a, b: (a.double()[:, None] - b.double()).square().sum(2).sqrt()  # noqa: E731
    radii = lambda a: table(a, a).fill_diagonal_(torch.inf).sort(1).values[:, k - 1]  # noqa: E731
    d, r = table(x, real), radii(real)
    within = (d < r) | ((d == 0) & (r == 0))
    return {
        Precision: (d <= r).any(1).double().mean(),
        Recall: (d <= radii(x)[:, None]).any(0).double().mean(),
        Density: within.double().sum(1).mean() / k,
        Coverage: within.any(0).double().mean(),
    }


GRID = st.integers(1, 3).flatmap(
    lambda d: st.tuples(
        *(
            st.integers(5, 20).flatmap(lambda n: arrays(np.float32, (n, d), elements=st.integers(-3, 3)))
            for _ in range(2)
        )
    )
)
"""Two sets with many copies and equal distances, and no rounding."""


@settings(max_examples=40)
@given(sets=GRID, k=st.integers(1, 4), block=st.integers(4, 20))
def test_follow_their_definitions_on_a_grid_for_any_size_of_block(sets, k, block):
    x, real = (torch.from_numpy(s) for s in sets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        for kind, expected in by_definition(x, real, k).items():
            assert measure(kind, x, real, k=k) == pytest.approx(expected.item(), abs=1e-12), kind


@settings(max_examples=40)
@given(sets=GRID, k=st.integers(1, 4), seed=st.integers(0, 1000))
def test_equal_distances_stay_equal_when_a_rotation_of_the_grid_rounds_them(sets, k, seed):
    x, real = (torch.from_numpy(s).double() for s in sets)
    rotation = torch.linalg.qr(normal(x.shape[1], x.shape[1], seed).double())[0]
    for kind in ALL:
        assert measure(kind, x @ rotation, real @ rotation, k=k) == measure(kind, x, real, k=k), kind


@settings(max_examples=40)
@given(sets=GRID, k=st.integers(1, 4))
def test_precision_and_recall_equal_torch_fidelity_on_a_grid(sets, k):
    x, real = (torch.from_numpy(s) for s in sets)
    for metric in (Precision(k), Recall(k)):
        theirs = metric.by_others(x, {"features": real})["torch-fidelity"]
        assert measure(type(metric), x, real, k=k) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "m", "d", "k"), [(300, 200, 8, 3), (200, 300, 8, 3), (250, 250, 64, 5), (400, 300, 512, 1)]
)
def test_precision_and_recall_equal_torch_fidelity_on_ordinary_features(n, m, d, k):
    x, real = (normal(n, d, 0) * 0.95).abs(), normal(m, d, 1).abs()
    for kind in (Precision, Recall):
        theirs = kind(k).by_others(x, {"features": real})["torch-fidelity"]
        assert measure(kind, x, real, k=k) == pytest.approx(theirs, abs=1e-6)
        assert 0 < theirs < 1


def test_the_usual_k_are_torch_fidelitys_and_naeems():
    from torch_fidelity.defaults import DEFAULTS

    assert [kind().k for kind in ALL] == [DEFAULTS["prc_neighborhood"]] * 2 + [5, 5]
    assert [kind().fewest for kind in ALL] == [4, 4, 6, 6]


@pytest.mark.parametrize("d", [2, 2048])
def test_a_set_collapsed_onto_one_real_image_is_precise_and_recalls_only_that(d):
    real = normal(200, d, 0).abs() + 1
    x = real[7].repeat(50, 1)
    assert measure(Precision, x, real) == 1
    assert measure(Recall, x, real) == 1 / 200
    assert measure(Precision, x, real) == Precision().by_others(x, {"features": real})["torch-fidelity"]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("d", [3, 2048])
def test_a_copy_of_the_real_set_scores_one(kind, d):
    real = normal(150, d, 0).abs() + 1
    assert measure(kind, real.flip(0), real) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ALL)
def test_sets_far_apart_score_zero(kind):
    assert measure(kind, normal(50, 4, 0) + 100, normal(60, 4, 1)) == 0


@pytest.mark.parametrize(("n", "m"), [(100, 100), (60, 150)])
def test_equal_distributions_have_density_one_and_the_coverage_of_lemma_2(n, m):
    """The k nearest of n + m - 1 images are all real with probability prod (m - 1 - i) / (n + m - 1
    - i).
    """
    coverage = 1 - math.prod((m - 1 - i) / (n + m - 1 - i) for i in range(5))
    for kind, expected in ((Density, 1.0), (Coverage, coverage)):
        found = torch.tensor(
            [measure(kind, normal(n, 3, 2 * i), normal(m, 3, 2 * i + 1)) for i in range(60)]
        )
        assert abs(found.mean() - expected) < 4 * found.std() / 60**0.5
    assert n != m or coverage == pytest.approx(1 - 1 / 2**5, abs=0.01)


def test_one_outlier_among_real_images_raises_precision_and_hardly_density():
    """What density is for (Naeem et al. 2020, section 3.1): the outlier's ball holds a whole region."""
    real = torch.cat([normal(200, 2, 0), torch.full((1, 2), 30.0)])
    x = normal(200, 2, 1) + 12
    assert measure(Precision, x, real) == 1
    assert measure(Density, x, real) < 0.25


@pytest.mark.parametrize("kind", ALL)
def test_neither_order_nor_rotation_nor_scale_matters(kind):
    x, real = (normal(120, 6, 0) * 0.9).double(), normal(90, 6, 1).double()
    rotation = torch.linalg.qr(normal(6, 6, 2).double())[0]
    expected = measure(kind, x, real)
    assert 0 < expected != 1
    assert measure(kind, x.flip(0), real[torch.randperm(90)]) == expected
    assert measure(kind, x @ rotation, real @ rotation) == expected
    assert measure(kind, 1e3 * x, 1e3 * real) == expected


@pytest.mark.parametrize("kind", ALL)
def test_batch_size_does_not_matter(kind):
    x, real, metric = normal(50, 3, 0), normal(40, 3, 1), kind()
    banks = metric.statistics(50), metric.reference_statistics(40)
    for bank, features, batch in zip(banks, (x, real), (7, 40), strict=True):
        for first in range(0, len(features), batch):
            bank.update(features[first : first + batch], first)
    generated, reference = (bank.statistics() for bank in banks)
    assert metric.value(generated, metric.prepare(reference)) == measure(kind, x, real)


@pytest.mark.parametrize("kind", [Precision, Density, Coverage])
def test_real_balls_are_computed_once(kind, monkeypatch):
    metric, generated = kind(), {"features": normal(20, 3, 1)}
    prepared = metric.prepare({"features": normal(30, 3, 0)})
    expected = metric.value(generated, prepared)
    monkeypatch.setattr(neighbours, "kth_distance", None)
    assert metric.value(generated, prepared) == expected


@pytest.mark.parametrize("kind", ALL)
def test_what_gives_no_number_is_refused(kind):
    x, k = normal(20, 3, 0), kind().k
    with pytest.raises(
        BenchError,
        match=f"{kind.__name__} needs at least {k + 1} real images, given {k}; give a reference of more",
    ):
        measure(kind, x, x[:k])
    with pytest.raises(
        BenchError,
        match=f"{kind.__name__} needs at least {k + 1} generated images, given {k}; ask for more",
    ):
        measure(kind, x[:k], x)
    with pytest.raises(BenchError, match="features of 3 dimensions, those of the reference 5"):
        measure(kind, x, normal(20, 5, 0))
    with pytest.raises(BenchError, match="features of the reference are not finite"):
        measure(kind, x, torch.where(x > 1, torch.nan, x))
    with pytest.raises(UsageError, match="given k = 0"):
        kind(k=0)
