"""The shipped classifier of clothes, its reference statistics, and its protocol."""

from __future__ import annotations

import torch

from bench import registry
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import plan_evaluation, spec_of
from bench.files.tensors import load_tensors
from bench.plugin import Sampler
from bench.runs.options import EvaluationOptions
from evals.fashion import FashionFeatures
from evals.fid import FID
from evals.protocols import FASHION_10K
from teachers.fashion import EDMFashion

CPU = torch.device("cpu")


def test_the_shipped_reference_is_that_of_the_shipped_classifier():
    tensors, meta = load_tensors(FASHION_10K.references["fashion-mnist"][0])
    assert meta["extractors"] == {"fashion": FashionFeatures().digest()}
    assert (meta["dataset"], meta["held_out"]) == ("fashion-mnist", "fashion-mnist-test")
    assert meta["images"] == tensors["moments.fashion.pool.count"] == 60_000
    assert tensors["held-out-moments.fashion.pool.count"] == 10_000
    _, described = load_tensors(FashionFeatures.shipped)
    assert described["measured"]["held_out_accuracy"] > 0.91
    assert described["made_by"] == "bench train fashion"


def test_the_protocol_measures_both_references_on_10_000_images():
    assert FASHION_10K.id == "fashion-10k"
    assert FASHION_10K.metrics == ("fid", "fid-test", "is")
    assert registry.protocols.get("fashion-10k") is FASHION_10K


def test_held_out_clothes_are_near_the_training_set():
    """The floor of the protocol: real images that no classifier and no teacher has seen."""
    tensors, _ = load_tensors(FASHION_10K.references["fashion-mnist"][0])

    def moments(kind):
        return {part: tensors[f"{kind}.fashion.pool.{part}"] for part in ("mu", "sigma")}

    metric = FID()
    assert metric.value(moments("held-out-moments"), metric.prepare(moments("moments"))) < 0.2


def test_images_of_the_shipped_teacher_are_near_the_clothes_in_few_steps():
    teacher = EDMFashion()
    options = EvaluationOptions(eval=["fid", "fid-test"], eval_samples=300)
    evaluator = Evaluator(plan_evaluation(options, spec_of(EDMFashion)), CPU)
    sampler = Sampler(steps=6)
    found = evaluator.measure(lambda z, labels, draw: teacher.sample(z, labels, sampler), [0])
    assert found["fid"].value < 20
    assert found["fid-test"].value < 20
