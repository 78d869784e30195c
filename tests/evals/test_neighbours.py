"""Distances block by block against all at once, and memorization against its limits and a count of
pairs.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.errors import BenchError
from evals import neighbours
from evals.memorization import Memorization
from evals.neighbours import balls_around, kth_distance, nearest_distance

BLOCKS = st.integers(3, 12)


def points(n, d=2):
    """Of a coarse grid: many copies and many equal distances, and no rounding."""
    return arrays(np.float32, (n, d), elements=st.integers(-2, 2)).map(torch.from_numpy)


SETS = st.integers(1, 3).flatmap(
    lambda d: st.tuples(*(st.integers(4, 12).flatmap(lambda n: points(n, d)) for _ in range(2)))
)


@pytest.fixture
def block():
    """Sets the size of a block: ``block(3)``."""
    before = neighbours.BLOCK
    yield lambda size: setattr(neighbours, "BLOCK", size)
    neighbours.BLOCK = before


@pytest.fixture(scope="module")
def gaussian():
    return lambda n, d, seed: torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def all_at_once(x, y):
    return (x.double()[:, None] - y.double()).square().sum(2).sqrt()


def in_blocks_of(size, compute):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", size)
        return compute()


@settings(max_examples=40)
@given(sets=SETS, size=BLOCKS, k=st.integers(1, 3))
def test_equal_the_whole_table_for_any_size_of_block(sets, size, k):
    x, y = sets
    own = all_at_once(x, x).fill_diagonal_(torch.inf).sort(1).values[:, k - 1]
    table = all_at_once(x, y)
    radii = all_at_once(y, y).fill_diagonal_(torch.inf).sort(1).values[:, k - 1]
    assert torch.equal(in_blocks_of(size, lambda: kth_distance(x, k)), own)
    assert torch.equal(in_blocks_of(size, lambda: nearest_distance(x, y)), table.min(1).values)
    assert torch.equal(in_blocks_of(size, lambda: balls_around(x, y, radii)), (table <= radii).sum(1))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_small_distances_between_long_vectors_keep_their_digits(gaussian, scale, offset):
    """In float32 the rounding of the products would be as large as these squared distances."""
    x = (gaussian(60, 512, 0) * 0.01 + offset) * scale
    y = torch.cat([x[:30] + 1e-3 * scale * gaussian(30, 512, 1), gaussian(10, 512, 2) * scale])
    torch.testing.assert_close(
        kth_distance(x, 3), all_at_once(x, x).sort(1).values[:, 3], rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        nearest_distance(y, x), all_at_once(y, x).min(1).values, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("d", [1, 7, 2048])
def test_copies_are_at_a_distance_of_exactly_zero(gaussian, block, d):
    block(16)
    x = gaussian(50, d, 0).abs() * 3 + 5
    assert not nearest_distance(x.flip(0), x).any()
    assert not kth_distance(x.repeat(3, 1), 2).any()
    assert (kth_distance(x, 1) > 0).all()


def test_no_table_is_larger_than_a_block(gaussian, block, monkeypatch):
    block(8)
    shapes, distances = [], neighbours._distances
    monkeypatch.setattr(
        neighbours, "_distances", lambda x, y: shapes.append((len(x), len(y))) or distances(x, y)
    )
    x, y = gaussian(30, 3, 0), gaussian(21, 3, 1)
    kth_distance(x, 2), nearest_distance(x, y), balls_around(x, y, torch.ones(21))
    assert len(shapes) == 10 + 12 + 12 and max(max(s) for s in shapes) == 8


# memorization


def memorized(generated, training, held_out=None, metric=Memorization()):  # noqa: B008
    reference = {"features": training} | ({} if held_out is None else {"held_out": held_out})
    return metric.value({"features": generated}, metric.prepare(reference))


@settings(max_examples=40)
@given(sets=SETS, held_out=st.booleans(), extra=st.data())
def test_memorization_is_the_share_of_pairs_with_ties_as_half(sets, held_out, extra):
    x, training = sets
    fresh = extra.draw(points(5, x.shape[1])) if held_out else None
    own = all_at_once(x, training).min(1).values
    new = (
        all_at_once(fresh, training)
        if held_out
        else all_at_once(training, training).fill_diagonal_(torch.inf)
    )
    new = new.min(1).values
    pairs = (own[:, None] < new).double() + (own[:, None] == new).double() / 2
    assert memorized(x, training, fresh) == pytest.approx(pairs.mean().item(), abs=1e-12)


@settings(max_examples=40)
@given(sets=SETS, seed=st.integers(0, 1000))
def test_ties_stay_ties_when_a_rotation_of_the_grid_rounds_them(sets, seed):
    x, training = (s.double() for s in sets)
    rotation = torch.linalg.qr(
        torch.randn(2 * x.shape[1:], generator=torch.Generator().manual_seed(seed)).double()
    )[0]
    assert memorized(x @ rotation, training @ rotation) == memorized(x, training)


@pytest.mark.parametrize("held_out", [True, False])
def test_copies_of_the_training_set_score_one_and_distant_images_zero(gaussian, held_out):
    training, fresh = gaussian(80, 12, 0), gaussian(40, 12, 1) if held_out else None
    assert memorized(training[10:50], training, fresh) == 1
    assert memorized(training + 100, training, fresh) == 0


def test_copies_of_what_the_training_set_has_twice_are_ties(gaussian):
    twice = gaussian(40, 2048, 0).abs().repeat(2, 1)
    assert memorized(twice[:30], twice) == 0.5


@pytest.mark.parametrize("held_out", [True, False])
def test_new_images_of_the_same_distribution_score_one_half(gaussian, held_out):
    """Within 4 standard deviations of the Mann-Whitney statistic of as many independent pairs,
    sqrt((n + m + 1) / (12 n m)).
    """
    training, n, m = gaussian(500, 5, 0), 600, 400 if held_out else 500
    value = memorized(gaussian(n, 5, 1), training, gaussian(m, 5, 2) if held_out else None)
    assert abs(value - 0.5) < 4 * ((n + m + 1) / (12 * n * m)) ** 0.5


def test_memorization_depends_neither_on_the_order_nor_on_a_rotation(gaussian):
    x, training, fresh = gaussian(40, 6, 0) * 0.9, gaussian(50, 6, 1), gaussian(30, 6, 2)
    rotation = torch.linalg.qr(gaussian(6, 6, 3).double())[0]
    expected = memorized(x, training, fresh)
    assert 0.5 < expected < 1
    assert memorized(x.flip(0), training[torch.randperm(50)], fresh.flip(0)) == expected
    assert (
        memorized(x.double() @ rotation, training.double() @ rotation, fresh.double() @ rotation)
        == expected
    )


def test_distances_of_new_images_are_computed_once(gaussian, monkeypatch):
    metric, x, training = (
        Memorization(),
        {"features": gaussian(20, 3, 0)},
        {"features": gaussian(30, 3, 1)},
    )
    prepared = metric.prepare(training)
    expected = metric.value(x, prepared)
    monkeypatch.setattr("evals.memorization.kth_distance", None)
    assert metric.value(x, prepared) == expected


def test_memorization_refuses_what_gives_no_number(gaussian):
    x = gaussian(5, 3, 0)
    for bad in (torch.empty(0, 3), torch.full((4, 3), torch.inf), gaussian(5, 4, 0)):
        with pytest.raises(BenchError, match="held-out features"):
            memorized(x, x, bad)
    with pytest.raises(BenchError, match="Memorization needs at least 2 real images, given 1"):
        memorized(x, x[:1])
    with pytest.raises(BenchError, match="features of the reference are not finite"):
        memorized(x, x / 0)
    with pytest.raises(BenchError, match="features of 3 dimensions, those of the reference 4"):
        memorized(x, gaussian(5, 4, 0))
