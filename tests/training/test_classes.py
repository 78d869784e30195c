"""Teachers that know more classes than are drawn, such as a null class for guidance: ``--classes``."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import bench as suite
from bench import registry
from bench.api import carry_out
from bench.errors import UsageError
from bench.evaluation.sampling import at_once, seeded_draw, seeded_noise
from bench.factory import open_generator
from bench.plugin.images import ImageSpec
from bench.plugin.method import TeacherPairs
from bench.runs.recipe import Recipe, make_request
from bench.training.job import make_job
from bench.training.pairs import _key
from tests.helpers.plugins import plugin, set_flags

TEACHER = '''
import torch
from bench.plugin import EDMPrecond, ImageSpec, NoiseLevels, Sampler, Teacher, register_teacher

class Labelled(torch.nn.Module):
    """Knows two classes, and refuses the third, which stands for none."""

    def __init__(self):
        super().__init__()
        self.image, self.label = torch.nn.Linear(64, 64), torch.nn.Linear(3, 64, bias=False)

    def forward(self, x, c_noise, labels, augment_labels):
        return (self.image(x.flatten(1)) + self._label(labels)).view_as(x)

    def encode(self, x, c_noise, labels, augment_labels):
        from bench.plugin import Encoded
        return Encoded(self.image(x.flatten(1)) + self._label(labels), None, [x])

    def decode(self, encoded):
        return encoded.features.view_as(encoded.skips[0])

    def _label(self, labels):
        if labels is None:  # its features alone are looked at
            return 0
        assert labels.shape[1] == 3 and labels.argmax(1).max() < 2, "the null class was drawn"
        return self.label(labels)

class Facts(Teacher):
    noise, sampler, dataset, protocol = NoiseLevels(), Sampler(2), None, "digits-5k"

    def load(self, path):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return EDMPrecond(Labelled())

@register_teacher("null-class")
class NullClass(Facts):
    image_spec, dataset = ImageSpec(1, 8, label_dim=3), "digits"

@register_teacher("late-null-class")
class Late(Facts):
    known_before_loading = False

    @property
    def image_spec(self):
        return ImageSpec(1, 8, label_dim=3)
'''
SETTINGS = {"batch": 8, "lr_decay": 0, "ema_halflife": 100, "dropout": 0, "lr": 1e-4, "fake_lr": 1e-4}
SMALL = {"budget": "updates=2", "eval": ["fid"], "eval_samples": 64, "eval_repeats": 1, "eval_points": 2}


@pytest.fixture
def teacher(tmp_path):
    """The plugin file with the teachers."""
    file = str(plugin(tmp_path, TEACHER))
    registry.load_plugin(file)
    return file


@pytest.fixture
def data(tmp_path):
    """Images of two classes."""
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    labels = [[f"{i:02}.png", i % 2] for i in range(20)]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return str(folder)


def test_only_the_first_classes_are_drawn_and_labels_keep_their_length():
    spec = ImageSpec(1, 4, label_dim=11)
    ten = spec.of_classes(10, "it")
    assert (ten.classes, ten.label_dim, ten.shape) == (10, 11, spec.shape)
    labels = seeded_noise(range(300), ten)[1]
    assert labels.shape == (300, 11)
    assert sorted(set(labels.argmax(1).tolist())) == list(range(10))
    assert 10 in seeded_noise(range(300), spec)[1].argmax(1)
    seen = []
    at_once(lambda z, labels, draw: seen.append(labels) or z, ten, torch.device("cpu"))(25)
    assert seen[0].argmax(1).tolist() == [i % 10 for i in range(25)]
    # The stream of a seed goes on behind the class, whatever it was.
    draws = [seeded_draw(range(3), s, torch.device("cpu"))() for s in (spec, ten)]
    assert torch.equal(*draws)


def test_all_the_classes_are_the_same_as_no_choice():
    spec = ImageSpec(1, 4, label_dim=11)
    assert spec.of_classes(11, "it") == spec
    assert repr(spec) == "ImageSpec(channels=1, resolution=4, label_dim=11)"


@pytest.mark.parametrize("method", ["sid", "dmd", "dmd2", "ect"])
def test_a_run_draws_these_classes_in_training_and_in_evaluation(tmp_path, teacher, data, method):
    """The network refuses the other one."""
    settings = SETTINGS | ({"pairs": 40, "pair_steps": 2, "distance": "l2"} if method == "dmd" else {})
    if method == "ect":
        settings = {"batch": 8}
    more = {"data": data} if method in ("dmd2", "ect") else {}
    request = make_request(
        method=method,
        teacher="null-class",
        settings=settings,
        plugins=[teacher],
        classes=2,
        **SMALL,
        **more,
    )
    record = carry_out(request, tmp_path / "runs", with_teacher=True)
    assert record.recipe.classes == 2
    assert record.images["drawn"] == 2
    generator = open_generator(record.run_id, tmp_path / "runs")
    assert generator.teacher.image_spec.classes == 2
    assert carry_out(request, tmp_path / "runs").run_id == record.run_id
    again = Recipe.model_validate(record.recipe.as_given()).as_request()
    assert make_job(make_request(**again)).recipe.run_id == record.run_id


def test_without_the_choice_the_null_class_is_drawn(tmp_path, teacher):
    request = make_request(
        method="sid", teacher="null-class", settings=SETTINGS, plugins=[teacher], **SMALL
    )
    with pytest.raises(AssertionError, match="the null class was drawn"):
        carry_out(request, tmp_path / "runs")


def test_the_choice_is_part_of_the_identity_and_its_absence_is_not(teacher):
    def job(**classes):
        return make_job(
            make_request(
                method="teacher", teacher="null-class", plugins=[teacher], eval=["fid"], **classes
            )
        )

    plain, all_of_them, two = job(), job(classes=3), job(classes=2)
    assert "classes" not in plain.recipe.model_dump()
    assert plain.recipe.run_id == all_of_them.recipe.run_id != two.recipe.run_id
    assert plain.recipe.teacher_digest == two.recipe.teacher_digest
    assert plain.recipe.teacher_code != two.recipe.teacher_code  # by which the teacher's row is found
    pairs = TeacherPairs(8, 2)
    assert len({_key(j.teacher, pairs, j.device) for j in (plain, all_of_them, two)}) == 2


def test_data_of_fewer_classes_names_the_option(teacher, data):
    fields = {"method": "dmd2", "teacher": "null-class", "plugins": [teacher], "data": data, "eval": []}
    fields |= {"settings": SETTINGS, "budget": "updates=1"}
    with pytest.raises(
        UsageError, match=r"has 2 classes, 'null-class' is conditioned on 3; .*--classes 2"
    ):
        make_job(make_request(**fields))
    make_job(make_request(**fields, classes=2))
    with pytest.raises(UsageError, match="has 2 classes, 'null-class' is conditioned on 1"):
        make_job(make_request(**fields, classes=1))


@pytest.mark.parametrize(
    ("teacher_name", "classes", "complaint"),
    [
        ("null-class", 4, "knows 3 classes, given --classes 4"),
        ("null-class", 0, "classes: input should be greater than or equal to 1"),
        ("edm-digits", 2, "'edm-digits' is not conditioned on classes, given --classes 2"),
        ("edm-cifar10-cond", 11, "knows 10 classes, given --classes 11"),
        ("late-null-class", 2, "give that property a setter"),
    ],
)
def test_a_number_that_the_network_does_not_have_is_refused(
    bench, teacher, teacher_name, classes, complaint
):
    command = ["run", "--method", "teacher", "--teacher", teacher_name, "--classes", classes]
    code, _, err = bench(*command, "--plugin", teacher, "--eval", "none")
    assert code == 2
    assert complaint in err


def test_every_command_with_a_teacher_takes_the_option(bench, tmp_path, teacher):
    flags = ["--classes", 2, "--plugin", teacher]
    bench.ok("sample", "teacher:null-class", "-n", 9, "-o", tmp_path / "grid.png", *flags)
    measure = ["eval", "teacher:null-class", "--metrics", "fid,latency", "--eval-samples", 64, *flags]
    assert bench.json(*measure, "--eval-repeats", 1)["classes"] == 2
    grid = ["--methods", "sid", "--teacher", "null-class", "--seeds", 1, "--budget", "updates=2"]
    measured = ["--eval", "fid", "--eval-samples", 64, "--eval-repeats", 1, "--eval-points", 2]
    table = bench.json("compare", *grid, *set_flags(SETTINGS), *measured, "--processes", 1, *flags)
    assert len(json.loads(json.dumps(table))) > 0
    run = next((tmp_path / "runs").glob("sid-*"))
    for command in ("eval", "sample"):
        code, _, err = bench(command, run, *flags)
        assert code == 2
        assert "a run draws those that it was trained on" in err


def test_a_notebook_chooses_the_class_of_each_image(teacher):
    generate = suite.load_generator("teacher:null-class", classes=2, plugins=[teacher])
    ones = generate(12, classes=1)
    torch.testing.assert_close(ones, generate(12, classes=[1] * 12), rtol=0, atol=0)
    own, drawn = generate(12), seeded_noise(range(12), generate.image_spec)[1].argmax(1)
    assert [torch.equal(a, b) for a, b in zip(own, ones, strict=True)] == (drawn == 1).tolist()
    torch.testing.assert_close(ones, generate(12, classes=torch.ones(12, dtype=torch.long)))
    torch.testing.assert_close(ones, generate(12, classes=[np.int64(1)] * 12))
    for wrong in ([2, *[0] * 11], [1.7, *[0] * 11], [[0, 1], [0]], True, [True] * 12, 0.5, [0], "01"):
        with pytest.raises(UsageError, match="expected a whole number from 0 to 1, or 12 of them"):
            generate(12, classes=wrong)


def test_a_diffusers_model_with_a_null_class_is_its_network_at_the_others(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), num_class_embeds=11,
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "m" / "unet")
    diffusers.FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path / "m" / "scheduler")
    name = f"teacher:diffusers:{tmp_path / 'm'}"
    teacher = open_generator(name, tmp_path, classes=10).teacher
    whole = open_generator(name, tmp_path).teacher
    assert teacher.digest() == whole.digest()
    z, labels = seeded_noise(range(64), teacher.image_spec)
    assert set(labels.argmax(1).tolist()) <= set(range(10))
    with torch.no_grad():
        found = teacher.denoiser(z, 1.0, labels)
        velocity = unet(z / 2, torch.full((64,), 500.0), labels.argmax(1)).sample
    torch.testing.assert_close(found, z / 2 - velocity / 2)
