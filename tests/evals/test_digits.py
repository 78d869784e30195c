"""The shipped digit classifier and its reference statistics."""

from __future__ import annotations

import pytest
import torch

from bench.evaluation.extraction import FeatureStatistics
from bench.evaluation.reference import measure_dataset
from bench.files.tensors import load_tensors
from bench.plugin import Moments, open_dataset, tensors_digest
from evals.digits import DigitFeatures
from evals.protocols import DIGITS_5K


def test_the_classifier_knows_its_digits():
    images, classes = next(open_dataset("digits").batches(2000))
    assert (DigitFeatures()(images)["logits"].argmax(1) == classes).double().mean() > 0.995
    _, meta = load_tensors(DigitFeatures.shipped)
    assert meta["measured"]["held_out_accuracy"] > 0.98
    assert meta["made_by"] == "bench train digits"


def test_the_shipped_reference_is_that_of_the_shipped_classifier():
    tensors, meta = load_tensors(DIGITS_5K.references["digits"][0])
    extractor = DigitFeatures()
    assert meta["extractors"] == {"digits": extractor.digest()}
    assert meta["images"] == tensors["moments.digits.pool.count"] == 1797
    need = FeatureStatistics("digits", "pool", Moments)
    measured, _ = measure_dataset(open_dataset("digits"), {"digits": extractor}, [need])
    again = measured[need]
    torch.testing.assert_close(again["mu"], tensors["moments.digits.pool.mu"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        again["sigma"], tensors["moments.digits.pool.sigma"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("network", ["digits", "edm-digits"])
def test_training_again_gives_the_same_bits(network):
    from bench.training.embedded import trainable

    runs = [trainable(network).train(5_000, 3, lambda seen, loss: None)[0] for _ in range(2)]
    assert tensors_digest(runs[0]) == tensors_digest(runs[1])
    assert tensors_digest(runs[0]) != tensors_digest(
        trainable(network).train(5_000, 4, lambda seen, loss: None)[0]
    )
