"""Quantisation, per-image seeds, protocol ids, and evaluation in one pass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import evaluate
from bench.errors import BenchError, UsageError
from bench.evaluate import Evaluator, generate_images
from bench.job import resolve
from bench.plugin import ImageSpec, Protocol, from_uint8, to_uint8
from bench.protocol import compact, seeded_noise
from bench.recipe import make_request
from evals.protocols import DIGITS_5K
from teachers.digits import EDMDigits


def test_all_256_levels_survive_normalising_and_quantising():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 2**31), count=st.integers(1, 12), cut=st.integers(0, 12), classes=st.integers(0, 5))
def test_noise_and_label_of_an_image_depend_on_its_seed_alone(start, count, cut, classes):
    spec = ImageSpec(2, 4, classes)
    cut = min(cut, count)
    z, labels = seeded_noise(range(start, start + count), spec)
    parts = [seeded_noise(r, spec) for r in (range(start, start + cut), range(start + cut, start + count))]
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


def identity(z, labels):
    return z.clamp(-1, 1)


@pytest.mark.parametrize("batch", [1, 7, 64, 256])
def test_batch_size_changes_no_image_and_no_number(monkeypatch, batch):
    teacher, protocol = EDMDigits(), DIGITS_5K.with_samples(300)
    reference = Evaluator(protocol, ["fid", "is"], teacher, torch.device("cpu")).measure(identity, [0])
    monkeypatch.setattr(evaluate, "BATCH", batch)
    found = Evaluator(protocol, ["fid", "is"], teacher, torch.device("cpu")).measure(identity, [0])
    for name in ("fid", "is"):
        assert found[name].value == pytest.approx(reference[name].value, abs=1e-4)
        assert found[name].protocol == "digits-300"


def test_evaluation_leaves_the_training_random_state_alone():
    evaluator = Evaluator(DIGITS_5K.with_samples(64), ["fid"], EDMDigits(), torch.device("cpu"))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    evaluator.measure(lambda z, labels: (z + torch.randn_like(z)).clamp(-1, 1), [0, 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_replicates_use_disjoint_seeds_and_their_spread_is_the_std():
    evaluator = Evaluator(DIGITS_5K.with_samples(200), ["fid"], EDMDigits(), torch.device("cpu"))
    single = [evaluator.measure(identity, [r])["fid"] for r in range(3)]
    together = evaluator.measure(identity, range(3))["fid"]
    values = torch.tensor([m.value for m in single], dtype=torch.float64)
    assert len(set(values.tolist())) == 3
    assert together.value == pytest.approx(values.mean().item())
    assert together.std == pytest.approx(values.std().item())
    assert all(m.std is None for m in single)


def test_images_that_are_not_finite_or_of_the_wrong_shape_are_refused():
    spec, device = ImageSpec(1, 8), torch.device("cpu")
    with pytest.raises(BenchError, match="diverged"):
        generate_images(lambda z, labels: z * torch.nan, range(3), spec, device)
    with pytest.raises(BenchError, match=r"\(3, 64\), expected \(3, 1, 8, 8\)"):
        generate_images(lambda z, labels: z.flatten(1), range(3), spec, device)


def test_a_reference_of_another_extractor_is_refused_naming_both(tmp_path):
    from bench.checkpoint import load_tensors, save_tensors

    tensors, meta = load_tensors(DIGITS_5K.reference)
    other = tmp_path / "reference.safetensors"
    save_tensors(other, tensors, meta | {"extractor_digest": "f00" * 21})
    protocol = Protocol("digits", 100, "digits", ("fid",), reference=other)
    with pytest.raises(BenchError, match=r"made with the extractor f00f00f00f00.*uses [0-9a-f]{12}"):
        Evaluator(protocol, ["fid"], EDMDigits(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ({"teacher": "gaussian", "eval": ["is"]}, "needs the feature 'logits'"),
        ({"teacher": "gmm-ring", "protocol": "digits-5k"}, "takes 1x8x8 images, those of 'gmm-ring' are 2x1x1"),
        ({"teacher": "edm-digits", "eval_samples": 5}, "'is' needs at least 10 images, not 5"),
    ],
)
def test_what_could_not_be_measured_is_refused_before_any_work(request_, complaint):
    with pytest.raises(UsageError, match=complaint):
        resolve(make_request(method="sid", budget="images=1k", **request_))


def test_the_teachers_own_samples_score_better_than_noise():
    teacher = EDMDigits()
    evaluator = Evaluator(DIGITS_5K.with_samples(1000), ["fid", "is"], teacher, torch.device("cpu"))
    sampled, noise = evaluator.measure(lambda z, labels: teacher.sample(z, labels), [0]), evaluator.measure(identity, [0])
    assert sampled["fid"].value < 4 < 20 < noise["fid"].value
    assert sampled["is"].value > 4 > 3 > noise["is"].value
