"""The CUDA paths of the engine and of the evaluation; skipped where there is no GPU."""

from __future__ import annotations

import math

import pytest
import torch

import bench as suite
from bench import environment, registry
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import plan_evaluation, spec_of
from bench.files.tensors import load_tensors, save_tensors
from bench.runs.options import EvaluationOptions
from bench.runs.recipe import make_request
from bench.training.job import Job, make_job
from bench.training.trainer import Trainer
from teachers.digits import EDMDigits
from teachers.networks.augment import AugmentPipe, Transform, warp
from tests.helpers.edm_reference import CONFIGURATIONS, network, tensor
from tests.helpers.trainers import TRAINED, trainer_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
CUDA = torch.device("cuda", 0)


def trainer(seed: int = 0) -> Trainer:
    job = make_job(
        make_request(method="sid", teacher="edm-digits", settings={"batch": 64}, budget="updates=20")
    )
    torch.manual_seed(seed)
    teacher = job.teacher.to(CUDA)
    return Trainer(job.method_class(job.settings, teacher), teacher, job.budget, CUDA)


def job_of(method: str, settings: dict[str, object], precision: str) -> Job:
    settings = {"batch": 64, "precision": precision} | settings
    return make_job(
        make_request(
            method=method, teacher="edm-digits", settings=settings, budget="images=100k", device="cuda"
        )
    )


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=str)
def test_every_method_trains_every_network_of_its_steps(method, settings, precision):
    job = job_of(method, settings, precision)
    environment.set_precision(precision)
    trainer = trainer_for(job, job.device)
    before = {step.role: [p.clone() for p in step.network.parameters()] for step in trainer.steps}
    updates = 4 if precision == "tf32" else 20  # the first in fp16 look for a scale and are skipped
    for _ in range(updates):
        trainer.iteration()
    for step in trainer.steps:
        after = list(step.network.parameters())
        assert all(p.isfinite().all() for p in after), step.role
        assert any(not torch.equal(a, b) for a, b in zip(before[step.role], after, strict=True)), (
            step.role
        )
    assert all(loss.isfinite().all() for loss in trainer.losses.values())
    assert trainer.ledger.images == updates * 64


@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=str)
def test_every_method_continues_on_the_gpu_where_it_stopped(method, settings, tmp_path):
    """To the rounding of a GPU, whose sums have no fixed order."""
    job = job_of(method, settings, "fp32")
    environment.set_precision("fp32")
    straight = trainer_for(job, job.device)
    for _ in range(2):
        straight.iteration()
    save_tensors(tmp_path / "state.safetensors", *straight.state())
    straight.iteration()
    continued = trainer_for(job_of(method, settings, "fp32"), job.device)
    continued.restore(*load_tensors(tmp_path / "state.safetensors"))
    continued.iteration()
    assert continued.ledger.model_dump(exclude={"seconds"}) == straight.ledger.model_dump(
        exclude={"seconds"}
    )
    for name, loss in straight.losses.items():
        torch.testing.assert_close(continued.losses[name], loss, rtol=1e-2, atol=1e-4, msg=name)


def test_a_run_of_every_kind_of_requirement_ends_with_a_number(tmp_path):
    """A method that makes the teacher's pairs and one that learns from real images, whole."""
    for method in ("dmd", "dmd2"):
        record = suite.run(
            method, "edm-digits", budget="images=8k", eval_repeats=1, results=tmp_path, device="cuda"
        )
        assert record.status == "done"
        assert math.isfinite(record.final["fid"])


def test_tf32_is_the_default_and_fp32_turns_it_off():
    assert environment.choose_precision("auto", CUDA) == "tf32"
    for name, allowed in (("tf32", True), ("fp32", False), ("fp16", False)):
        environment.set_precision(name)
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == allowed


def test_the_teacher_scores_the_same_on_both_devices():
    environment.set_precision("fp32")
    scores, measuring = (
        {},
        plan_evaluation(
            EvaluationOptions(eval_samples=1000), spec_of(registry.teachers.get("edm-digits"))
        ),
    )
    for device in (torch.device("cpu"), CUDA):
        teacher = EDMDigits().to(device)
        evaluator = Evaluator(measuring, device)
        scores[device.type] = evaluator.measure(
            lambda z, labels, draw, t=teacher: t.sample(z, labels), [0]
        )
    for name in ("fid", "is"):
        assert scores["cuda"][name].value == pytest.approx(scores["cpu"][name].value, rel=0.02)


def test_continuing_from_a_checkpoint_follows_the_uninterrupted_run(tmp_path):
    environment.set_precision("fp32")
    straight, stopped = trainer(), None
    for _ in range(6):
        straight.iteration()
    stopped = trainer()
    for _ in range(3):
        stopped.iteration()
    save_tensors(tmp_path / "state.safetensors", *stopped.state())
    continued = trainer(seed=9)
    continued.restore(*load_tensors(tmp_path / "state.safetensors"))
    for _ in range(3):
        continued.iteration()
    for a, b in zip(
        straight.averaged().generator.parameters(),
        continued.averaged().generator.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert straight.ledger.flops == continued.ledger.flops


def test_a_whole_run_learns_and_counts_its_memory(tmp_path):
    record = suite.run(
        "sid", "edm-digits", budget="images=64k", eval_repeats=1, results=tmp_path, device="cuda"
    )
    assert record.final["fid"] < 6
    assert record.environment.precision == "tf32"
    assert record.cost.peak_memory_bytes > 1e6


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize(("float16", "tolerance"), [(False, 1e-4), (True, 1e-2)])
def test_edms_networks_give_the_references_numbers(name, float16, tolerance):
    environment.set_precision("fp32")
    denoiser = network(name).to(CUDA)
    denoiser.half_type = torch.float16 if float16 else None
    if float16:
        denoiser.to(memory_format=torch.channels_last)
    inputs = (tensor(name, f"in/{k}") for k in ("x", "sigma", "class_labels", "augment_labels"))
    x, sigma, labels, augment = (None if t is None else t.to(CUDA) for t in inputs)
    with torch.no_grad():
        out = denoiser(x, sigma, labels, augment).cpu()
    reference = tensor(name, "out/D_f32")
    assert (out - reference).abs().max() <= tolerance * reference.abs().max()


def test_augmentation_waits_for_nothing_and_gives_the_same_images():
    images = torch.rand(8, 3, 32, 32) * 2 - 1
    torch.manual_seed(0)
    matrix = Transform.draw(images, 1.0).matrix(32, 32)
    torch.testing.assert_close(
        warp(images.to(CUDA), matrix.to(CUDA)).cpu(), warp(images, matrix), rtol=0, atol=1e-4
    )
    AugmentPipe(1.0)(images.to(CUDA))  # the filter is on the device from here on
    on_device = images.to(CUDA)
    torch.cuda.set_sync_debug_mode("error")
    try:
        AugmentPipe(1.0)(on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def iterated(
    method: str, settings: dict[str, object], precision: str, updates: int, *, capture: bool
) -> Trainer:
    environment.set_precision(precision)
    job = job_of(method, settings, precision)
    made = trainer_for(job, job.device, capture=capture)
    for _ in range(updates):
        made.iteration()
    return made


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=str)
def test_recorded_updates_train_as_updates_one_by_one_do(method, settings, precision):
    """The same random numbers and the same kernels, and so the same weights and ledger."""
    if precision == "fp16" and method in ("ect", "cd", "scd", "kd", "pd"):
        pytest.skip("one of each family is enough in fp16, and RAdam looks at its scale on the host")
    if method == "scd":
        settings = settings | {"warmup_images": 0}  # in which every update differs
    eager = iterated(method, settings, precision, 12, capture=False)
    recorded = iterated(method, settings, precision, 12, capture=True)
    assert len(recorded.graphs.recorded) == len(recorded.costs)
    chaotic = method in ("dmd2", "f-distill")  # a discriminator amplifies the order of sums
    for a, b in zip(
        eager.method.generator.parameters(), recorded.method.generator.parameters(), strict=True
    ):
        assert (a - b).norm() <= (0.05 if chaotic else 1e-3) * a.norm().clamp_min(1e-3)
    assert eager.ledger.model_dump(exclude={"seconds"}) == recorded.ledger.model_dump(
        exclude={"seconds"}
    )
    for name, value in eager.curve_values().items():
        found = recorded.curve_values()[name]
        assert found == pytest.approx(value, rel=0.2 if chaotic else 0.01, abs=1e-3), name


@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=str)
def test_an_update_never_waits_for_the_gpu(method, settings):
    trainer = iterated(method, settings, "tf32", 3, capture=False)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.iteration()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_captured_run_ends_with_the_numbers_of_one_that_is_not(tmp_path):
    numbers = {}
    for capture in (False, True):
        record = suite.run(
            "sid",
            "edm-digits",
            budget="images=30k",
            eval=["fid"],
            eval_samples=2000,
            eval_repeats=1,
            results=tmp_path / str(capture),
            device="cuda",
            capture=capture,
            settings={"precision": "fp32"},
        )
        numbers[capture] = record.final["fid"]
        assert record.environment.captured == capture
    assert numbers[True] == pytest.approx(numbers[False], rel=0.05)


@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=str)
def test_a_batch_in_parts_trains_as_the_whole_on_the_gpu(method, settings):
    if method in ("dmd2", "f-distill"):
        pytest.skip("a discriminator amplifies the order of sums; in float64 it is shown on the CPU")
    groups = {"micro_batch": 16} if method in ("sida", "sid2a") else {}
    whole = iterated(method, settings | groups, "fp32", 5, capture=False)
    job = job_of(method, settings | groups, "fp32")
    parts = trainer_for(job, job.device)
    parts.execution.batch_gpu = 16
    for _ in range(5):
        parts.iteration()
    for a, b in zip(
        whole.method.generator.parameters(), parts.method.generator.parameters(), strict=True
    ):
        assert (a - b).norm() <= 1e-3 * a.norm().clamp_min(1e-3)
