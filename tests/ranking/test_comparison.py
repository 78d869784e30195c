"""What a table says of its rows is wrong as seldom as it promises: simulations whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.ranking.comparison import compare
from bench.ranking.power import POWER
from bench.ranking.ranks import ranked
from bench.ranking.rows import MetricColumn, Number, Row
from bench.ranking.shrinkage import shrunk
from bench.ranking.success import succeeded

ROWS, TABLES, STD = 12, 250, 0.03
"""Rows of a simulated table, tables, and the standard deviation of ln FID over training seeds."""
FID = MetricColumn("fid", "p@0", "p", "lower")


def normal(random, seeds):
    return STD * random.standard_normal((ROWS, seeds))


def heavy_tailed(random, seeds):
    return STD * random.standard_t(3, (ROWS, seeds))


def skewed(random, seeds):
    return STD * random.exponential(1.0, (ROWS, seeds))


def unequal(random, seeds):
    """Standard deviations of the methods a factor of ten apart."""
    return normal(random, seeds) * 10 ** random.uniform(-0.5, 0.5, (ROWS, 1))


def two_wild(random, seeds):
    return normal(random, seeds) * np.where(np.arange(ROWS) < 2, 8.0, 1.0)[:, None]


def one_in_ten_lost(random, seeds):
    """Seeds end 2 to 30 times as bad as they should, one in ten."""
    gone = random.random((ROWS, seeds)) < 0.1
    return normal(random, seeds) + gone * np.log(random.uniform(2, 30, (ROWS, seeds)))


def wide(random, seeds):
    """Methods that all end anywhere within a factor of three."""
    return normal(random, seeds) * (0.5 / STD)


def half_of_them_wide(random, seeds):
    return normal(random, seeds) * np.where(np.arange(ROWS) < 6, 1.0 / STD, 1.0)[:, None]


LAWS = [normal, heavy_tailed, skewed, unequal, two_wild, one_in_ten_lost, wide, half_of_them_wide]


def measured(log_fids, random, replicates=4, common=0.03, own=0.03, rest=0.01):
    """FIDs (rows, seeds, replicates) as the suite measures them: all on the same generated images."""
    rows, seeds = log_fids.shape
    noise = (
        common * random.standard_normal((1, 1, replicates))
        + own * random.standard_normal((rows, 1, replicates))
        + rest * random.standard_normal((rows, seeds, replicates))
    )
    return (2.0 * np.exp(log_fids[..., None] + noise)).tolist()


def row(name, seeds, **facts):
    """A row of a table from the replicates of each seed."""
    values = [math.fsum(seed) / len(seed) for seed in seeds]
    number = Number(math.fsum(values) / len(values), None, tuple(values), tuple(map(tuple, seeds)))
    costs = dict.fromkeys(("images", "flops", "seconds"), 1.0)
    lost = succeeded(values, "lower").count(False)
    facts = {"updates": 1.0, "lost": lost, "weights": "w", "numbers": {FID: number}} | costs | facts
    return Row("t", name, "", len(values), 1, True, None, **facts)


def teacher(seeds, **facts):
    return row("teacher", seeds, updates=0.0, is_target=True, **facts)


def ranks_of(rows):
    return ranked(rows, [FID])[0]


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_of_equal_methods_few_tables_say_anything_that_is_false(law, seeds):
    """Ranks, ties and what is said of the teacher, whose number is the same, all at once."""
    random, wrong = np.random.default_rng(0), 0
    for _ in range(TABLES):
        logs = np.vstack([law(random, seeds), np.zeros((1, seeds))])
        logs -= np.median(logs[:-1], axis=1).mean()  # equal in the mean to what seeds scatter about
        *table, own = measured(logs, random)
        found = ranks_of([*(row(str(i), r) for i, r in enumerate(table)), teacher(own[:1])])[:-1]
        known = [r.numbers[FID] for r in found]
        false = any(r.rank != f"1-{ROWS}" for r in found)
        false |= any(not (n.tied or n.best or r.lost) for r, n in zip(found, known, strict=True))
        wrong += false
    assert wrong / TABLES < 0.05 + 2 * math.sqrt(0.05 * 0.95 / TABLES)


def test_one_row_that_loses_a_seed_does_not_blind_the_others():
    random, found = np.random.default_rng(8), []
    for _ in range(60):
        logs = normal(random, 5)
        logs[0] -= 5 * STD
        logs[1, 0] += 2.5
        table = ranks_of([row(str(i), r) for i, r in enumerate(measured(logs, random, own=0.01))])
        found.append(table[0].rank in ("1", "1-2"))
        assert table[1].lost == 1 and not table[1].numbers[FID].tied
    assert np.mean(found) > 0.8


def test_of_methods_that_differ_the_true_order_is_contradicted_as_seldom():
    """Half of the methods are equal, the others lie 1 to 12 standard deviations behind them."""
    truth = np.r_[np.zeros(6), STD * np.array([1, 2, 3, 5, 8, 12])]
    random, wrong, found_of_far = np.random.default_rng(1), 0, 0
    for _ in range(TABLES):
        found = compare(measured(truth[:, None] + normal(random, 5), random), "lower")
        false = (found.better & (truth[:, None] >= truth)).any()
        wrong += false
        for i, (first, last) in enumerate(found.ranges([True] * ROWS)):
            allowed = (1 + (truth < truth[i]).sum(), ROWS - (truth > truth[i]).sum())
            assert false or (first <= allowed[1] and last >= allowed[0])
        found_of_far += found.better[:6, -1].all()
    assert wrong / TABLES < 0.05 + 2 * math.sqrt(0.05 * 0.95 / TABLES)
    assert found_of_far / TABLES > 0.95


@pytest.mark.parametrize("rows", [2, 3])
def test_few_rows_are_held_apart_by_what_each_knows_alone(rows):
    random = np.random.default_rng(2)
    wrong = sum(
        compare(measured(unequal(random, 5)[:rows], random), "lower").better.any() for _ in range(1000)
    )
    assert wrong / 1000 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_two_rows_of_one_replicate_each_are_compared_by_welchs_test():
    random = np.random.default_rng(3)
    for _ in range(200):
        a, b = random.normal(2, 0.1, 4), random.normal(2.15, 0.3, 5)
        found = compare([[[v] for v in a], [[v] for v in b]], "lower").better.any()
        assert found == (stats.ttest_ind(np.log(a), np.log(b), equal_var=False).pvalue < 0.05)


def test_the_resolution_is_what_is_found_four_times_in_five():
    random = np.random.default_rng(4)

    def table(gap):
        shift = np.zeros((ROWS, 1))
        shift[0] = -math.log1p(gap)
        return compare(measured(shift + normal(random, 5), random), "lower")

    promised = np.median([table(0.0).resolution for _ in range(100)])
    assert 0.1 < promised < 0.25
    found = np.mean([table(promised).better[0, 1:].mean() for _ in range(200)])
    assert found == pytest.approx(POWER, abs=0.08)


def test_as_many_seeds_as_are_said_to_be_needed_find_the_difference():
    random = np.random.default_rng(5)
    shift = np.r_[-0.08, np.zeros(ROWS - 1)][:, None]

    def table(seeds):
        return compare(measured(shift + normal(random, seeds), random, own=0.005), "lower")

    needed = int(np.median([table(4).seeds_needed[1] for _ in range(60)]))
    assert np.mean([table(needed).better[0, 1] for _ in range(150)]) == pytest.approx(POWER, abs=0.15)
    assert table(4).seeds_needed[0] is None
    # noise of the evaluation is the same for all seeds, and no number of them takes it away
    noisy = compare(measured(shift + normal(random, 4), random, own=0.2), "lower")
    assert noisy.seeds_needed[1] == math.inf


def test_intervals_of_rows_and_of_the_teacher_hold_the_truth_as_often_as_they_say():
    """The truth is what infinitely many seeds and replicates would give."""
    random, inside, teachers = np.random.default_rng(6), [], []
    for _ in range(TABLES):
        seeds = normal(random, 5)
        seeds[0] = 0.0  # the teacher, whose weights are given
        table = measured(seeds, random)
        table[0] = table[0][:1]
        found = compare(table, "lower", weights_given=[True] + [False] * (ROWS - 1))
        covers = [low <= 2.0 <= high for low, high in found.intervals]
        teachers.append(covers[0])
        inside += covers[1:]
    assert np.mean(inside) > 0.94
    assert np.mean(teachers) > 0.93


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says(direction):
    """Rows twice as high as the first; the noise that all of them share is no part of a ratio."""
    random, shift = np.random.default_rng(8), np.r_[0, np.full(ROWS - 1, math.log(2))][:, None]
    inside = []
    for _ in range(TABLES):
        found = compare(measured(shift + normal(random, 5), random, common=1.0), direction)
        ratios = [found.ratio(i, 0) for i in range(1, ROWS)]
        inside += [ratio.low <= 2 <= ratio.high for ratio in ratios]
    assert 0.94 < np.mean(inside) < 0.99
    back = found.ratio(0, 1)
    assert (back.estimate, back.low, back.high) == pytest.approx(
        (1 / ratios[0].estimate, 1 / ratios[0].high, 1 / ratios[0].low)
    )


def test_two_rows_of_one_replicate_each_have_the_interval_of_welchs_test():
    a, b = [1.0, 1.1, 1.3], [2.0, 2.6, 2.1, 2.2]
    ratio = compare([[[v] for v in a], [[v] for v in b]], "lower").ratio(0, 1)
    interval = stats.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval(0.95)
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert ratio.estimate == pytest.approx(stats.gmean(a) / stats.gmean(b))


def test_what_is_not_tested_or_not_positive_has_no_ratio():
    assert compare([[[1.0]], [[2.0]] * 2], "lower").ratio(0, 1) is None
    assert compare([[[-1.0], [1.0]], [[2.0]] * 2], "lower").ratio(0, 1) is None


def test_nothing_is_said_of_a_single_seed_but_the_noise_of_its_evaluation():
    found = compare([[[1.0, 1.01]], [[5.0, 5.1], [5.2, 5.3]], [[9.0, 9.1], [9.2, 9.1]]], "lower")
    assert found.testable == [False, True, True]
    assert not found.better[0].any() and not found.better[:, 0].any()
    assert found.ranges([True] * 3)[0] is None
    low, high = found.intervals[0]
    assert low < 1.005 < high
    assert compare([[[1.0]], [[2.0]]], "lower").intervals == [None, None]


def test_the_teacher_is_compared_by_its_replicates_and_ranks_nowhere():
    rows = [
        [[1.5, 1.52, 1.48, 1.5]],
        *[[[v, v + 0.01, v - 0.01, v] for v in (w, w + 0.02, w - 0.02)] for w in (1.0, 1.5, 3.0)],
    ]
    given, among = [True, False, False, False], [False, True, True, True]
    found = compare(rows, "lower", weights_given=given, targets=[None, 0, 0, 0])
    assert [found.against(i, 0) for i in (1, 2, 3)] == ["better", "open", "worse"]
    assert found.ranges(among) == [None, (1, 1), (2, 2), (3, 3)]


def test_rows_are_compared_with_the_teacher_whose_weights_they_began_from():
    def about(centre, count=3):
        return [[centre + 0.01 * i + 0.005 * k for k in range(4)] for i in range(count)]

    rows = [
        row("sid", about(1.0)),
        row("kd", about(3.0), weights="v"),
        teacher(about(1.5, 1)),
        teacher(about(1.6, 1), weights="v"),
        row("teacher", about(1.0, 1), updates=0.0),  # sampled another way
    ]
    found = ranks_of(rows)
    assert [r.numbers[FID].against_teacher for r in found] == ["better", "worse", None, None, None]
    assert [r.rank for r in found] == ["1", "2", "-", "-", "-"]
    assert found[1].numbers[FID].seeds_needed == 2 and found[0].numbers[FID].seeds_needed is None


def test_a_row_of_a_single_replicate_has_the_noise_that_the_others_show():
    """One row that was measured less does not make the others look exact, and neither does no scatter."""
    random, wrong = np.random.default_rng(9), 0
    for _ in range(TABLES):
        table = measured(np.zeros((ROWS, 3)), random, rest=0.0)
        table[0] = [seed[:1] for seed in table[0]]
        wrong += compare(table, "lower").better.any()
    assert wrong / TABLES < 0.05 + 2 * math.sqrt(0.05 * 0.95 / TABLES)
    exact = [[[1.0]] * 3, [[2.0]] * 3]
    assert not any(compare(exact, "lower").testable) and not compare(exact, "lower").evaluation_known


def test_a_row_with_a_diverged_seed_has_no_rank_and_is_not_the_best():
    about = {"sid": 2.0, "dmd": 3.0, "cd": 1.0}
    rows = [row(name, [[c], [c + 0.1], [c + 0.05]]) for name, c in about.items()]
    rows[2] = replace(rows[2], lost=1, diverged=1)
    found = ranks_of(rows)
    assert [r.rank for r in found] == ["1", "2", "-"]
    assert [r.numbers[FID].best for r in found] == [True, False, False]
    assert rows[2].median(FID) == pytest.approx(1.075) and rows[2].attempts == 4
    assert replace(rows[2], lost=5, diverged=5).median(FID) is None


@given(
    table=st.lists(st.lists(st.floats(0.01, 100), min_size=2, max_size=4), min_size=2, max_size=7),
    factor=st.sampled_from([0.5, 2.0, 8.0]),
)
def test_units_order_and_direction_do_not_matter(table, factor):
    rows = [[[v] for v in row] for row in table]
    found = compare(rows, "lower").better
    assert not (found & found.T).any()
    assert (
        compare([[[v * factor] for [v] in row] for row in rows], "lower").better == found
    ).mean() > 0.9
    assert (compare(rows[::-1], "lower").better[::-1, ::-1] == found).all()
    assert (compare([[[1 / v] for [v] in row] for row in rows], "higher").better == found).mean() > 0.9


def test_equal_rows_are_equal_and_no_rows_are_nothing():
    assert not compare([[[0.1, 0.2]] * 3, [[0.1, 0.2]] * 2], "lower").better.any()
    assert compare([], "lower").ranges([]) == []


def test_numbers_that_are_not_all_positive_are_compared_as_they_are():
    rows = [[[-0.001], [0.001], [0.0]], [[1.0], [1.001], [0.999]]]
    found = compare(rows, "lower")
    assert found.better[0, 1] and not found.relative


def test_variances_that_are_alike_are_shrunk_and_others_left():
    """Against draws: equal true variances come close to the pool, ones a thousand apart hardly move."""
    random = np.random.default_rng(7)
    degrees = np.full(ROWS, 4.0)
    alike = random.chisquare(4, ROWS) / 4
    better, total = shrunk(alike, degrees)
    assert np.abs(better - 1).max() < np.abs(alike - 1).max()
    assert (total > degrees).all() and (total <= degrees.sum()).all()
    apart = alike * 10.0 ** np.arange(-6, 6)
    assert shrunk(apart, degrees)[0][-1] == pytest.approx(apart[-1], rel=0.2)
    few = random.chisquare(4, 4) / 4
    assert shrunk(few, degrees[:4])[0] is few
