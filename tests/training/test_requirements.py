"""What a method requires beside the teacher: real images and a starting generator, found or asked
for before any work.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import bench as suite
from bench import registry
from bench.errors import UsageError
from bench.factory import open_generator
from bench.files.tensors import load_tensors
from bench.plugin.dataset import InMemory
from bench.plugin.images import ImageSpec
from bench.plugin.sampler import euler_step
from bench.runs.recipe import make_request
from bench.training import loop
from bench.training.job import make_job
from bench.training.real_images import RealStream
from bench.training.requirements import find_initial_generator
from teachers.digits import EDMDigits

CPU = torch.device("cpu")
LEARNS_FROM_IMAGES = ["sida", "sid2a", "dmd2", "f-distill", "pd", "cd", "ect", "scd"]


def numbered(count=10, label_dim=0):
    """Images whose pixels, and labels if there are any, say which image it is."""
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 2).clone()
    return InMemory(pixels, torch.arange(count) % label_dim if label_dim else None)


def folder_of_digits(path, size=8, count=20):
    path.mkdir()
    for i in range(count):
        Image.fromarray(np.full((size, size), 10 * i, np.uint8)).save(path / f"{i:03d}.png")
    return path


def test_a_draw_depends_on_the_seed_and_its_number_alone():
    def draws(stream):
        return [stream.sample(4)[0][:, 0, 0, 0].tolist() for _ in range(3)]

    first = draws(RealStream(numbered(), ImageSpec(1, 2), 0, CPU))
    torch.manual_seed(99)
    torch.randn(7)
    assert draws(RealStream(numbered(), ImageSpec(1, 2), 0, CPU)) == first
    assert draws(RealStream(numbered(), ImageSpec(1, 2), 1, CPU)) != first
    later = RealStream(numbered(), ImageSpec(1, 2), 0, CPU)
    later.batches_drawn = 2
    assert later.sample(4)[0][:, 0, 0, 0].tolist() == first[2]


def test_images_read_from_files_one_batch_ahead_are_those_held_in_memory(monkeypatch):
    held = RealStream(numbered(label_dim=3), ImageSpec(1, 2, 3), 5, CPU)
    monkeypatch.setattr("bench.training.real_images.RESIDENT_BYTES", 1)
    read = RealStream(numbered(label_dim=3), ImageSpec(1, 2, 3), 5, CPU)
    for count in (4, 4, 3, 4):  # of another size, too, which was not read ahead
        for mine, other in zip(held.sample(count), read.sample(count), strict=True):
            assert torch.equal(mine, other)
    read.batches_drawn = held.batches_drawn = 1
    assert torch.equal(held.sample(4)[0], read.sample(4)[0])


def test_labels_go_with_their_images_as_one_hot_vectors():
    images, labels = RealStream(numbered(label_dim=5), ImageSpec(1, 2, 5), 0, CPU).sample(50)
    which = ((images[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(labels.argmax(1), which % 5)
    assert labels.shape == (50, 5)
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    assert (
        RealStream(numbered(label_dim=5), ImageSpec(1, 2), 0, CPU).sample(5)[1] is None
    )  # of an unconditional teacher


def test_every_image_is_drawn_as_often_as_any_other():
    images, _ = RealStream(numbered(), ImageSpec(1, 2), 0, CPU).sample(20_000)
    counts = torch.bincount(((images[:, 0, 0, 0] + 1) * 127.5).round().long(), minlength=10)
    assert (counts - 2000).abs().max() < 250


@pytest.mark.parametrize("method", LEARNS_FROM_IMAGES)
def test_a_method_that_learns_from_images_takes_the_teachers_own(method):
    job = make_job(make_request(method=method, teacher="edm-digits"))
    assert len(job.requirements.real) == 1797
    assert job.recipe.supplies["real"] == "digits"


def test_other_images_can_be_given_and_are_part_of_the_recipe(tmp_path):
    folder = folder_of_digits(tmp_path / "mine")
    given = {"method": "ect", "teacher": "edm-digits"}
    job = make_job(make_request(**given, data=str(folder)))
    assert len(job.requirements.real) == 20
    assert job.recipe.run_id != make_job(make_request(**given)).recipe.run_id
    again = make_job(make_request(**job.recipe.as_request()))
    assert again.recipe.run_id == job.recipe.run_id
    moved = folder.rename(tmp_path / "moved")
    assert make_job(make_request(**given, data=str(moved))).recipe.run_id == job.recipe.run_id
    folder_of_digits(tmp_path / "other", count=19)
    assert (
        make_job(make_request(**given, data=str(tmp_path / "other"))).recipe.run_id != job.recipe.run_id
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("nothing", "method 'ect' learns from real images: .*nothing.* Or give --data PATH"),
        (
            "cifar10",
            "method 'ect' learns from real images: cifar-10-python.tar.gz .*BENCH_OFFLINE=1.*Or "
            "give --data PATH",
        ),
        ("gmm-ring", "has images of 2x1x1, 'edm-digits' makes 1x8x8; give other --data"),
    ],
)
def test_images_that_are_not_there_or_do_not_fit_are_asked_for(data, complaint):
    with pytest.raises(UsageError, match=complaint):
        make_job(make_request(method="ect", teacher="edm-digits", data=data))


def test_a_teacher_of_unknown_images_asks_for_them(monkeypatch):
    monkeypatch.setattr(EDMDigits, "dataset", None)
    with pytest.raises(
        UsageError,
        match="'edm-digits' does not say which it was trained on; give --data NAME or --data PATH",
    ):
        make_job(make_request(method="ect", teacher="edm-digits", eval=[]))


def test_images_for_a_method_that_needs_none_are_refused():
    with pytest.raises(
        UsageError, match="method 'sid' needs no real images under these settings, given --data 'digits'"
    ):
        make_job(make_request(method="sid", teacher="edm-digits", data="digits"))


def test_a_conditional_teacher_refuses_images_without_its_classes(monkeypatch):
    monkeypatch.setattr(EDMDigits, "image_spec", ImageSpec(1, 8, 4))
    with pytest.raises(
        UsageError, match="has 10 classes, 'edm-digits' is conditioned on 4; give --data with its labels"
    ):
        make_job(make_request(method="ect", teacher="edm-digits"))


SHORT = {"batch": 32, "generator_starts_at": 0}


def test_sid2a_starts_from_another_run_and_bears_its_cost(tmp_path):
    first = suite.run(
        "sid", "edm-digits", budget="images=64", settings={"batch": 32}, eval=[], results=tmp_path
    )
    folder = tmp_path / first.run_id
    settings = SHORT | {"start": str(folder), "sid_share": 0}
    second = suite.run(
        "sid2a", "edm-digits", budget="images=32", settings=settings, eval=[], results=tmp_path
    )
    assert second.cost.one_off.flops == first.cost.flops
    assert second.cost.flops > first.cost.flops
    assert set(second.requires) == {"RealImages", "StartingGenerator"}
    settings["start"] += "/checkpoints/generator.safetensors"
    by_file = make_request(
        method="sid2a", teacher="edm-digits", budget="images=32", settings=settings, eval=[]
    )
    assert make_job(by_file).requirements.initial_generator.flops == first.cost.flops
    assert make_job(by_file).recipe.run_id == second.run_id  # whatever words lead to the file


def test_a_run_begins_with_the_weights_of_its_start(tmp_path):
    first = suite.run(
        "sid",
        "edm-digits",
        budget="images=640",
        settings={"batch": 32, "lr": 0.01},
        eval=[],
        results=tmp_path,
    )
    settings = SHORT | {"start": str(tmp_path / first.run_id), "sid_share": 0}
    job = make_job(
        make_request(method="sid2a", teacher="edm-digits", settings=settings, budget="images=32")
    )
    method = loop.prepare_method(job, job.budget)
    weights = load_tensors(tmp_path / first.run_id / "checkpoints/generator.safetensors")[0]
    assert all(torch.equal(t, weights[name]) for name, t in method.generator.state_dict().items())
    assert any(
        not torch.equal(t, weights[name]) for name, t in method.trained_by.fake.state_dict().items()
    )


def test_a_generator_of_another_teacher_is_no_start(tmp_path, monkeypatch):
    first = suite.run(
        "sid", "edm-digits", budget="images=64", settings={"batch": 32}, eval=[], results=tmp_path
    )
    monkeypatch.setattr(EDMDigits, "digest", lambda self: "another")
    with pytest.raises(
        UsageError, match="was made from another teacher than 'edm-digits'; give another"
    ):
        find_initial_generator(str(tmp_path / first.run_id), registry.teachers.get("edm-digits")())
    with pytest.raises(UsageError, match="was made from 'edm-cifar10', not 'edm-digits'; give another"):
        find_initial_generator("released:sid-cifar10-alpha1.2", registry.teachers.get("edm-digits")())


@pytest.mark.parametrize(
    ("method", "settings", "complaint"),
    [
        (
            "kd",
            {"distance": "lpips"},
            "for images of 3 channels, 'edm-digits' makes images of 1; .* --set distance=l2",
        ),
        (
            "sida",
            {"generator_starts_at": 5000},
            "the generator step begins after 5,000 images and the budget is images=1000",
        ),
    ],
)
def test_what_cannot_train_here_is_refused_before_any_work(
    tmp_path, monkeypatch, method, settings, complaint
):
    """No pairs are made, and no folder stays."""
    monkeypatch.setattr("bench.files.assets.offline", lambda: False)
    monkeypatch.setattr("bench.training.requirements.at_hand", lambda asset: tmp_path)
    monkeypatch.setattr("methods.parts.distance.at_hand", lambda asset: tmp_path)
    monkeypatch.setattr("bench.training.loop.teacher_pairs", lambda *a: pytest.fail("pairs were made"))
    with pytest.raises(UsageError, match=complaint):
        suite.run(
            method,
            "edm-digits",
            settings=settings,
            budget="images=1000",
            eval=[],
            results=tmp_path / "runs",
        )
    assert not list((tmp_path / "runs").glob("*"))


def test_a_recipe_whose_images_have_changed_is_refused(tmp_path):
    folder = folder_of_digits(tmp_path / "mine")
    recipe = make_job(make_request(method="ect", teacher="edm-digits", data=str(folder))).recipe
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(folder / "000.png")
    with pytest.raises(UsageError, match="the recipe was made with other real content"):
        make_job(make_request(**recipe.as_request()))


def test_a_finished_run_is_sampled_without_what_its_training_needed(tmp_path, monkeypatch):
    record = suite.run(
        "ect", "edm-digits", budget="images=64", settings={"batch": 32}, eval=[], results=tmp_path
    )
    monkeypatch.setattr(
        "bench.training.requirements.find_dataset", lambda *a: pytest.fail("images were looked for")
    )
    assert open_generator(record.run_id, tmp_path).nfe == 1


def test_progressive_distillation_is_sampled_as_its_last_stage_generates(tmp_path):
    settings = {"batch": 32, "first_steps": 4}
    record = suite.run(
        "pd",
        "edm-digits",
        budget="images=320",
        settings=settings,
        eval=["fid"],
        eval_samples=200,
        results=tmp_path,
    )
    source = open_generator(record.run_id, tmp_path)
    assert source.nfe == record.nfe == record.evaluations[-1].nfe == 1
    assert record.evaluations[0].nfe == 4
    z = torch.randn(4, 1, 8, 8)
    levels = source.teacher.noise.sigma_max, source.teacher.noise.sigma_min
    expected = euler_step(source.network, levels[0] * z, *levels)
    torch.testing.assert_close(source.generate(z), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"start": "nowhere"},
            "unknown starting generator 'nowhere'; give a run's id or folder, its generator.safetensors",
        ),
        ({"start": None, "sid_share": 0}, "method 'sid2a': give start, or a sid_share above 0"),
        (
            {"start": "released:sid-cifar10-alpha1.2", "sid_share": 0},
            "was made from 'edm-cifar10', not 'edm-digits'",
        ),
    ],
)
def test_a_start_that_is_not_there_is_asked_for(settings, complaint):
    with pytest.raises(UsageError, match=complaint):
        make_job(make_request(method="sid2a", teacher="edm-digits", settings=settings))


def test_a_start_must_be_a_generator_of_this_suite(tmp_path):
    file = tmp_path / "weights.pkl"
    file.write_bytes(b"x")
    with pytest.raises(
        UsageError, match=r"is not a run's; give its folder or its generator\.safetensors"
    ):
        find_initial_generator(str(file), registry.teachers.get("edm-digits")())


def test_progressive_distillation_must_halve():
    with pytest.raises(UsageError, match="first_steps must be last_steps doubled some number of times"):
        make_job(
            make_request(
                method="pd", teacher="edm-digits", settings={"first_steps": 12, "last_steps": 5}
            )
        )
