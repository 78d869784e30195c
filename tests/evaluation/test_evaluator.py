"""Quantisation, per-image seeds, protocol ids, and evaluation in one pass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import registry
from bench.errors import BenchError, UsageError
from bench.evaluation import evaluator as evaluate
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import plan_evaluation, spec_of
from bench.evaluation.sampling import generate_images, quantised, seeded_noise
from bench.plugin import ImageSpec, from_uint8, to_uint8
from bench.runs.options import EvaluationOptions
from bench.runs.recipe import make_request
from bench.training.job import make_job
from bench.units import compact
from evals.protocols import DIGITS_5K
from teachers.digits import EDMDigits


def test_all_256_levels_survive_normalising_and_quantising():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


@settings(max_examples=25)
@given(
    start=st.integers(0, 2**31),
    count=st.integers(1, 12),
    cut=st.integers(0, 12),
    classes=st.integers(0, 5),
)
def test_noise_and_label_of_an_image_depend_on_its_seed_alone(start, count, cut, classes):
    spec = ImageSpec(2, 4, classes)
    cut = min(cut, count)
    z, labels = seeded_noise(range(start, start + count), spec)
    parts = [
        seeded_noise(r, spec) for r in (range(start, start + cut), range(start + cut, start + count))
    ]
    assert torch.equal(z, torch.cat([p[0] for p in parts]))
    if classes:
        assert torch.equal(labels, torch.cat([p[1] for p in parts]))
        assert torch.equal(labels.sum(1), torch.ones(count))
    one = torch.Generator().manual_seed(start)
    assert torch.equal(z[0], torch.randn(spec.shape, generator=one))
    if classes:
        assert labels[0].argmax() == torch.randint(classes, (1,), generator=one)


def test_ids_hold_the_number_of_images():
    assert DIGITS_5K.id == "digits-5k"
    assert DIGITS_5K.with_samples(1797).id == "digits-1797"
    assert [compact(n) for n in (50_000, 1_500, 2_000_000)] == ["50k", "1500", "2M"]


def identity(z, labels, draw):
    return z.clamp(-1, 1)


CPU = torch.device("cpu")


def evaluator(samples: int, *metrics: str, batch: int | None = None) -> Evaluator:
    wanted = EvaluationOptions(eval_samples=samples, eval=metrics or ("fid",))
    return Evaluator(
        plan_evaluation(wanted, spec_of(registry.teachers.get("edm-digits"))), CPU, batch=batch
    )


@pytest.mark.parametrize("batch", [1, 7, 64, 256])
def test_batch_size_changes_no_image_and_no_number(batch):
    network, spec = EDMDigits().denoiser, EDMDigits.image_spec

    def one_step(z, labels, draw):
        return network(2.5 * z, 2.5)

    found, expected = ({}, {})
    for size, kept in ((batch, found), (250, expected)):
        parts = [
            quantised(one_step, spec, CPU, range(i, min(i + size, 300))) for i in range(0, 300, size)
        ]
        kept["images"] = torch.cat(parts)
        kept |= evaluator(300, "fid", "is", batch=size).measure(one_step, [0])
    assert torch.equal(found["images"], expected["images"])
    for name in ("fid", "is"):
        assert found[name].value == pytest.approx(expected[name].value, abs=1e-6)
        assert found[name].protocol == "digits-300"


def test_the_order_in_which_images_are_made_does_not_matter(monkeypatch):
    expected = evaluator(300, "fid", "is", "precision", "recall", batch=40).measure(identity, [0])
    monkeypatch.setattr(evaluate, "tiles", lambda samples, size: reversed(range(0, samples, size)))
    found = evaluator(300, "fid", "is", "precision", "recall", batch=40).measure(identity, [0])
    for name, measured in expected.items():
        assert found[name].value == pytest.approx(measured.value, abs=1e-6)


def test_a_generator_that_ignores_its_noise_gets_no_number():
    with pytest.raises(BenchError, match="all images are the same"):
        evaluator(60).measure(lambda z, labels, draw: torch.zeros_like(z), [0])


def test_measuring_speed_leaves_the_training_random_state_alone():
    measure = evaluator(60, "fid", "latency").measure
    torch.manual_seed(5)
    before = torch.get_rng_state()
    measure(lambda z, labels, draw: (z + torch.randn_like(z)).clamp(-1, 1), [0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_that_draws_noise_of_its_own_is_measured_the_same_twice():
    def noisy(z, labels, draw):
        return (z + torch.randn_like(z)).clamp(-1, 1)

    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        values.append(evaluator(60).measure(noisy, [0])["fid"].value)
    assert values[0] == values[1]


def test_values_of_replicates_are_kept():
    measured = evaluator(60).measure(identity, [0, 1, 2])["fid"]
    assert len(measured.values) == 3
    assert measured.value == pytest.approx(sum(measured.values) / 3)


def test_evaluation_leaves_the_training_random_state_alone():
    measure = evaluator(64).measure
    torch.manual_seed(5)
    before = torch.get_rng_state()
    measure(lambda z, labels, draw: (z + torch.randn_like(z)).clamp(-1, 1), [0, 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_replicates_use_disjoint_seeds_and_their_spread_is_the_std():
    single = [evaluator(200).measure(identity, [r])["fid"] for r in range(3)]
    together = evaluator(200).measure(identity, range(3))["fid"]
    values = torch.tensor([m.value for m in single], dtype=torch.float64)
    assert len(set(values.tolist())) == 3
    assert together.value == pytest.approx(values.mean().item())
    assert together.std == pytest.approx(values.std().item())
    assert all(m.std is None for m in single)


def test_images_that_are_not_finite_or_of_the_wrong_shape_are_refused():
    spec, device = ImageSpec(1, 8), torch.device("cpu")
    with pytest.raises(BenchError, match="diverged"):
        generate_images(lambda z, labels, draw: z * torch.nan, range(3), spec, device)
    with pytest.raises(BenchError, match=r"\(3, 64\), expected \(3, 1, 8, 8\)"):
        generate_images(lambda z, labels, draw: z.flatten(1), range(3), spec, device)


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ({"teacher": "gaussian", "eval": ["is"]}, "needs the feature 'logits'"),
        (
            {"teacher": "gmm-ring", "protocol": "digits-5k"},
            "takes 1x8x8 images, those of 'gmm-ring' are 2x1x1",
        ),
        ({"teacher": "edm-digits", "eval_samples": 5}, "'is' needs at least 10 images, not 5"),
    ],
)
def test_what_could_not_be_measured_is_refused_before_any_work(request_, complaint):
    with pytest.raises(UsageError, match=complaint):
        make_job(make_request(method="sid", budget="images=1k", **request_))


def test_the_teachers_own_samples_score_better_than_noise():
    teacher = EDMDigits()
    measure = evaluator(1000, "fid", "is").measure
    sampled, noise = (
        measure(lambda z, labels, draw: teacher.sample(z, labels), [0]),
        measure(identity, [0]),
    )
    assert sampled["fid"].value < 4 < 20 < noise["fid"].value
    assert sampled["is"].value > 4 > 3 > noise["is"].value
