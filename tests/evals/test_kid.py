"""KID against a double loop, its closed form for Gaussians, torch-fidelity and clean-fid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, UsageError
from bench.runs.recipe import make_request
from bench.training.job import make_job
from evals.kid import KID, squared_mmd

SMALL = KID(subsets=10, size=100)


def normal(n, d, seed, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def kid(x, y, metric=SMALL):
    return metric.value({"features": x}, metric.prepare({"features": y}))


@settings(max_examples=25)
@given(n=st.integers(2, 7), d=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_the_estimate_is_the_double_sum_without_the_diagonals(n, d, seed):
    x, y = normal(n, d, seed, torch.float64), normal(n, d, seed + 1, torch.float64) * 2 + 1
    kernel = lambda a, b: (float(a @ b) / d + 1) ** 3  # noqa: E731
    within = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j) / (
        n * (n - 1)
    )
    across = sum(kernel(a, b) for a in x for b in y) / n**2
    assert squared_mmd(x, y).item() == pytest.approx(within - 2 * across, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_is_unbiased_for_gaussians_on_a_line(shift):
    """The kernel is a sum over products of moments: MMD^2 = 3 (m1 - n1)^2 + 3 (m2 - n2)^2 + (m3 - n3)^2."""
    exact = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    draws = [
        squared_mmd(normal(60, 1, 2 * i, torch.float64) + shift, normal(60, 1, 2 * i + 1, torch.float64))
        for i in range(300)
    ]
    found = torch.stack(draws)
    assert abs(found.mean() - exact) < 4 * found.std() / len(draws) ** 0.5
    assert found.min() < 0 or shift


@settings(max_examples=10)
@given(
    n=st.integers(100, 150),
    m=st.integers(100, 150),
    d=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    offset=st.floats(0, 3),
)
def test_equals_torch_fidelity_on_the_same_subsets(n, m, d, seed, offset):
    x, y = normal(n, d, seed) + offset, normal(m, d, seed + 1) * 1.1
    scale = (max(x.square().sum(1).max(), y.square().sum(1).max()) / d + 1).item() ** 3
    assert kid(x, y) == pytest.approx(
        SMALL.by_others(x, {"features": y})["torch-fidelity"], abs=1e-6 * scale
    )


def test_equals_torch_fidelity_with_another_seed_and_not_with_the_usual_one():
    x, y, other = normal(150, 8, 0), normal(140, 8, 1), KID(subsets=10, size=100, seed=7)
    assert kid(x, y, other) == pytest.approx(
        other.by_others(x, {"features": y})["torch-fidelity"], abs=1e-6
    )
    assert abs(kid(x, y, other) - kid(x, y)) > 1e-4


def test_the_usual_parameters_are_torch_fidelitys():
    from torch_fidelity.defaults import DEFAULTS

    assert KID() == KID(DEFAULTS["kid_subsets"], DEFAULTS["kid_subset_size"], DEFAULTS["rng_seed"])


def test_equals_clean_fid_where_every_subset_is_the_whole_set():
    from cleanfid.fid import kernel_distance

    x, y = normal(80, 16, 0), normal(80, 16, 1) + 0.2
    state = np.random.get_state()
    theirs = kernel_distance(x.double().numpy(), y.double().numpy(), num_subsets=1)
    np.random.set_state(state)
    assert kid(x, y, KID(subsets=1, size=80)) == pytest.approx(theirs, rel=1e-9)


def test_rotation_of_both_sets_does_not_matter_and_no_random_state_is_touched():
    x, y = normal(150, 6, 0), normal(120, 6, 1) + 0.3
    rotation = torch.linalg.qr(normal(6, 6, 2, torch.float64))[0]
    numpys, torchs = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert kid(x.double() @ rotation, y.double() @ rotation) == pytest.approx(kid(x, y), abs=1e-9)
    assert (np.random.get_state()[1] == numpys).all() and torch.equal(torch.get_rng_state(), torchs)


def test_a_set_against_itself_is_slightly_below_zero():
    x = normal(100, 4, 0)
    assert -1 < kid(x, x) < 0


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ((99, 3), (200, 3), "KID needs at least 100 generated images, given 99; ask for more samples."),
        ((200, 3), (99, 3), "KID needs at least 100 real images, given 99; give a reference of more."),
        ((200, 3), (200, 4), "features of 3 dimensions, those of the reference 4"),
    ],
)
def test_sets_that_do_not_fit_are_refused(x, y, sentence):
    with pytest.raises(BenchError, match=sentence):
        kid(torch.zeros(x), torch.zeros(y))


def test_a_damaged_reference_and_parameters_without_meaning_are_refused():
    with pytest.raises(BenchError, match="not finite"):
        kid(normal(100, 3, 0), torch.full((100, 3), torch.nan))
    for parameters in ({"subsets": 0}, {"size": 1}):
        with pytest.raises(UsageError, match="mean over subsets"):
            KID(**parameters)
    assert KID().fewest == 1000


# -- subsets as an option of an evaluation ---------------------------------------------------------

KID_OF = (
    "eval",
    "teacher:edm-digits",
    "--metrics",
    "kid",
    "--eval-samples",
    "200",
    "--eval-repeats",
    "1",
)


def test_subsets_that_are_asked_for_are_another_protocol_and_stated(bench):
    content = bench.json(*KID_OF, "--kid-subset-size", "50", "--kid-subsets", "7")
    assert content["metrics"]["kid"]["protocol"] == content["protocol"]["id"] == "digits-kid7x50-200"
    assert content["protocol"]["parameters"]["kid"] == {"subsets": 7, "size": 50, "seed": 2020}
    other = bench.json(*KID_OF, "--kid-subset-size", "60", "--kid-subsets", "7")
    assert other["protocol"]["id"] == "digits-kid7x60-200"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--kid-subset-size", "201"],
            "--kid-subset-size 201 is more than the 200 images of digits-200",
        ),
        ([], "needs at least 1,000 images, not 200; raise --eval-samples, or lower --kid-subset-size."),
        (["--kid-subset-size", "1"], "kid_subset_size: input should be greater than or equal to 2"),
        (["--kid-subsets", "0"], "kid_subsets: input should be greater than or equal to 1"),
        (["--metrics", "fid", "--kid-subsets", "7"], "kid is not measured; add it to --metrics"),
    ],
)
def test_subsets_that_cannot_be_are_refused(bench, arguments, sentence):
    code, out, err = bench(*KID_OF, *arguments)
    assert code == 2 and sentence in err and out == "" and err.count("\n") == 1


def test_the_usual_subsets_are_the_run_of_before_and_others_are_another():
    def recipe(**asked):
        request = make_request(method="sid", teacher="edm-digits", eval=["fid", "kid"], **asked)
        return make_job(request).recipe

    usual = recipe()
    assert not {"kid_subset_size", "kid_subsets"} & usual.model_dump()["evaluation"].keys()
    assert recipe(kid_subset_size=1000, kid_subsets=100).run_id == usual.run_id
    other = recipe(kid_subset_size=500)
    assert other.run_id != usual.run_id
    assert other.run_id == recipe(kid_subset_size=500, kid_subsets=100).run_id
    assert make_job(make_request(**other.as_request())).recipe == other
