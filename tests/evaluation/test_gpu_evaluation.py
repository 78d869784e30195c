"""Evaluation on a GPU gives the CPU's numbers, whatever the precision of training; skipped where
there is no GPU.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench import environment
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.extraction import Extraction, FeatureStatistics
from bench.evaluation.plan import TargetSpec, plan_evaluation
from bench.plugin import open_dataset, to_uint8
from bench.plugin.accumulators import FeatureBank, Moments
from bench.plugin.images import ImageSpec
from bench.runs.options import EvaluationOptions
from evals.density_coverage import Coverage, Density
from evals.fid import FID
from evals.fid_infinity import FIDInfinity
from evals.inception import CleanInception, Inception, LegacyInception
from evals.inception_score import InceptionScore
from evals.kid import KID
from evals.memorization import Memorization
from evals.precision_recall import Precision, Recall
from evals.resize import clean, half_pixel, resize, tensorflow
from tests.helpers.inception_weights import write_inception

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _tf32_allowed():
    """As it is while a run trains, and as it was afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    environment.set_precision("tf32")
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


def blots(n, size=32, seed=0):
    """Smooth coloured images with a little noise, uint8 (n, 3, size, size)."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, 3, 6, 6, generator=draw) * torch.rand(n, 1, 1, 1, generator=draw)
    return to_uint8(
        F.interpolate(coarse, (size, size), mode="bicubic")
        + 0.05 * torch.randn(n, 3, size, size, generator=draw)
    )


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def on(device, statistics):
    return {name: t.to(device) for name, t in statistics.items()}


def extract(extractor, images, device):
    """Features of images as an evaluation has them, on the CPU."""
    needs = {FeatureStatistics("inception", feature, FeatureBank) for feature in extractor.features}
    extraction = Extraction({"inception": extractor.to(device)}, needs, len(images))
    for first in range(0, len(images), 8):
        extraction.see(images[first : first + 8].to(device), first)
    return {need.feature: kept["features"].cpu() for need, kept in extraction.statistics().items()}


def apart(features, others):
    """The largest difference in any feature, relative to the largest feature."""
    return max(((features[k] - others[k]).abs().max() / others[k].abs().max()).item() for k in others)


@pytest.mark.parametrize("kind", [Inception, CleanInception, LegacyInception])
def test_inceptions_features_are_those_of_the_cpu_and_tf32_would_not_give_them(kind, weights):
    images = blots(16)
    expected, extractor = extract(kind(weights), images, CPU), kind(weights)
    assert apart(extract(extractor, images, CUDA), expected) < 1e-4
    assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32  # as it found them
    with torch.no_grad():
        by_tf32 = {name: f.cpu() for name, f in extractor(images.to(CUDA)).items()}
    assert apart(by_tf32, expected) > 1e-4


@pytest.mark.parametrize("kernel", [tensorflow, half_pixel, clean])
@pytest.mark.parametrize("size", [8, 32, 64, 512])
def test_a_resize_is_that_of_the_cpu_to_a_ten_thousandth_of_a_level(kernel, size):
    images = torch.randint(
        0, 256, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(size)
    )
    resized = resize(images.to(CUDA), kernel)
    assert resized.dtype == torch.float32
    assert (resized.cpu() - resize(images, kernel)).abs().max() < 1e-4
    assert torch.backends.cuda.matmul.allow_tf32


def test_digits_are_measured_as_on_the_cpu():
    """Every metric of the usual protocol, and those that compare image by image."""
    real = open_dataset("digits").read(range(1797))[0]
    draw = torch.Generator().manual_seed(0)
    images = (real + 40 * torch.rand(real.shape, generator=draw)).clamp(0, 255).to(torch.uint8)[:1500]
    wanted = EvaluationOptions(
        protocol="digits-5k",
        eval=("fid", "is", "precision", "recall", "density", "coverage"),
        eval_samples=len(images),
    )
    measuring = plan_evaluation(wanted, TargetSpec("noisy digits", ImageSpec(1, 8), "digits"))
    found = {}
    for device in (CPU, CUDA):
        measured = Evaluator(measuring, device).measure_images(
            lambda at: images[at.start : at.stop], [0]
        )
        found[device.type] = {name: m.value for name, m in measured.items()}
    assert found["cpu"]["fid"] > 0.01
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3)


@pytest.mark.parametrize("generated", [2000, 100])
@pytest.mark.parametrize("real", [1500, 60])
@pytest.mark.parametrize("dead", [0, 30])
def test_fid_of_equal_statistics_is_that_of_the_cpu(generated, real, dead):
    """Of more images than dimensions and of fewer, and of features of which some are always zero."""

    def mean_and_variance(n, seed):
        kept = Moments(n)
        kept.update(0.4 + normal(n, 256, seed) / torch.arange(1, 257) * (torch.arange(256) >= dead), 0)
        return kept.statistics()

    x, y, fid = mean_and_variance(generated, 0), mean_and_variance(real, 1), FID()
    expected = fid.value(x, fid.prepare(y))
    for reference in (fid.prepare(on(CUDA, y)), on(CUDA, fid.prepare(y)), fid.prepare(y)):
        assert fid.value(on(CUDA, x), reference) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_moments_of_equal_features_are_those_of_the_cpu_although_tf32_is_allowed():
    x = normal(1200, 256, 0) + 5
    kept = {}
    for device in (CPU, CUDA):
        kept[device] = Moments(len(x))
        for first in range(0, len(x), 250):
            kept[device].update(x[first : first + 250].to(device), first)
    own, expected = (kept[device].statistics() for device in (CUDA, CPU))
    for name in ("mu", "sigma"):
        torch.testing.assert_close(own[name].cpu(), expected[name], rtol=1e-10, atol=1e-11)


SETS = [
    Precision(),
    Recall(),
    Density(),
    Coverage(),
    Memorization(),
    KID(subsets=10, size=200),
    FIDInfinity(sizes=5),
]


@pytest.mark.parametrize("metric", SETS, ids=lambda metric: type(metric).__name__)
def test_metrics_of_equal_features_are_those_of_the_cpu(metric):
    """Of features with copies and ties, where a rounding would change a count."""
    x, real = (normal(800, 24, 0) * 4).round() / 4 * 0.75, (normal(700, 24, 1) * 4).round() / 4 * 0.75
    x[:40] = real[:40]
    banks = [metric.statistics(len(x)), metric.reference_statistics(len(real))]
    for bank, features in zip(banks, (x, real), strict=True):
        bank.update(features, 0)
    generated, reference = (bank.statistics() for bank in banks)
    expected = metric.value(generated, metric.prepare(reference))
    assert metric.value(on(CUDA, generated), metric.prepare(on(CUDA, reference))) == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize("permutation", [2020, None])
def test_the_inception_score_of_equal_logits_is_that_of_the_cpu(permutation):
    metric, logits = InceptionScore(permutation=permutation), 3 * normal(530, 1008, 0)
    found = []
    for device in (CPU, CUDA):
        kept = metric.statistics(len(logits))
        for first in range(0, len(logits), 250):
            kept.update(logits[first : first + 250].to(device), first)
        found.append(metric.value(kept.statistics(), None))
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def evaluator(weights, folder, samples, *, batch=None, fast=False):
    """By ``edm-50k`` on this number of images, against the statistics of 100 others."""
    real = Moments(100)
    real.update(extract(Inception(weights), blots(100, seed=1), CUDA)["pool"], 0)
    np.savez(folder / "real.npz", **{name: real.statistics()[name].numpy() for name in ("mu", "sigma")})
    wanted = EvaluationOptions(
        protocol="edm-50k",
        eval_samples=samples,
        fast=fast,
        reference=str(folder / "real.npz"),
        extractor_path=str(weights),
    )
    return Evaluator(
        plan_evaluation(wanted, TargetSpec("blots", ImageSpec(3, 32), None)), CUDA, batch=batch
    )


def measure(by):
    images = blots(by.protocol.samples)
    return {
        name: m.value
        for name, m in by.measure_images(lambda at: images[at.start : at.stop], [0]).items()
    }


def test_batch_sizes_change_no_number(weights, tmp_path):
    expected = measure(evaluator(weights, tmp_path, 300))
    assert expected["fid"] > 0.1 and expected["is"] > 1.001
    for batch in (7, 125, 300):
        assert measure(evaluator(weights, tmp_path, 300, batch=batch)) == pytest.approx(
            expected, rel=1e-5
        ), batch


@pytest.mark.slow
def test_fast_numbers_are_near_the_exact_ones_and_say_what_they_are(weights, tmp_path):
    """Within a hundredth: float16 has 11 bits, and the errors of 300 images' features are not
    systematic.
    """
    exact, fast = (evaluator(weights, tmp_path, 300, fast=fast) for fast in (False, True))
    assert (exact.protocol.id, fast.protocol.id) == ("edm-300", "edm-fast-300")
    assert exact.describe()["extractor_precision"] == "fp32"
    assert fast.describe()["extractor_precision"] == "16 bits, compiled"
    expected, found = measure(exact), measure(fast)
    assert found == pytest.approx(expected, rel=0.01)
    assert found != expected
