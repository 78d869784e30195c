"""A run is known by the code that computes it: what only explains makes no other run, and what computes does."""

from __future__ import annotations

import hashlib
import importlib
import sys

import pytest
import torch

import bench as suite
from bench import registry
from bench.plugin import Method
from bench.runs.recipe import make_request
from bench.runs.store import SUITE, changed_inputs, find_finished, find_outdated, input_name
from bench.training.fingerprint import files_behind, teacher_files
from bench.training.job import make_job
from methods.sid import SiD
from teachers.digits import EDMDigits
from tests.helpers.plugins import METHOD, SETTINGS, plugin

HELPED = "import scale_of_noise\n" + METHOD.replace(
    "self.generator(z, 1.0)", "self.generator(z * scale_of_noise.SCALE, 1.0)"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a plugin method of two updates that imports a module beside it; returns its record."""
    monkeypatch.syspath_prepend(tmp_path)
    request = {
        "settings": SETTINGS,
        "budget": "updates=2",
        "eval": [],
        "plugins": [str(tmp_path / "plugin.py")],
    }

    def call(plugin: str = HELPED, module: str = "SCALE = 1.0\n"):
        for name, text in (("plugin.py", plugin), ("scale_of_noise.py", module)):
            (tmp_path / name).write_text(text.format(name="known"))
        registry._from_files.clear()
        registry._loaded_files.clear()
        sys.modules.pop("scale_of_noise", None)
        return suite.run("known", "edm-digits", **request, results=tmp_path / "runs")

    yield call
    sys.modules.pop("scale_of_noise", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"plugin": HELPED.replace("class ", "# why\n\n\nclass ", 1)},
        {"plugin": '"""What it is for."""\n' + HELPED},
        {"module": 'SCALE = 1.00\n"""Of the noise."""\n'},
    ],
)
def test_what_only_explains_makes_no_other_run(run, changes):
    first = run()
    again = run(**changes)
    assert (again.run_id, again.started, again.finished) == (first.run_id, first.started, first.finished)


@pytest.mark.parametrize(
    "changes", [{"plugin": HELPED.replace("1.0)", "2.0)")}, {"module": "SCALE = 2.0\n"}]
)
def test_what_computes_makes_another_run_and_the_record_names_it(run, changes):
    first = run()
    assert run(**changes).run_id != first.run_id
    assert {"plugin.py", "scale_of_noise.py"} <= {name.rpartition("/")[2] for name in first.inputs}


def test_a_finished_run_whose_code_has_changed_is_named_with_the_file(run, tmp_path, bench):
    first = run()
    request = make_request(**first.request)
    assert find_finished(request, tmp_path / "runs").run_id == first.run_id
    assert find_outdated(request, tmp_path / "runs") is None
    (tmp_path / "scale_of_noise.py").write_text("SCALE = 3.0\n")
    assert find_finished(request, tmp_path / "runs") is None
    record, changed = find_outdated(request, tmp_path / "runs")
    assert (record.run_id, [path.name for path in changed]) == (first.run_id, ["scale_of_noise.py"])
    (row,) = bench.json("list", "runs", "--results", str(tmp_path / "runs"))
    assert row["code"] == "changed: scale_of_noise.py"
    (tmp_path / "scale_of_noise.py").write_text("SCALE = 1.0  # as before\n")
    (row,) = bench.json("list", "runs", "--results", str(tmp_path / "runs"))
    assert row["code"] == "current"


def test_a_record_of_before_is_held_to_the_bytes_of_its_files(run, tmp_path):
    record, file = run(), tmp_path / "plugin.py"
    bytes_of = hashlib.sha256(file.read_bytes()).hexdigest()
    before = record.model_copy(update={"inputs": {str(file): bytes_of}})
    assert changed_inputs(before) == []
    file.write_text(file.read_text() + "# a word more\n")
    assert changed_inputs(before) == [file]
    assert changed_inputs(record) == []


def test_the_suites_own_files_have_the_same_name_in_every_checkout(tmp_path):
    assert input_name(SUITE / "methods" / "sid.py") == "methods/sid.py"
    assert input_name(tmp_path / "mine.py") == str(tmp_path / "mine.py")


def test_a_network_depends_on_what_it_uses_of_its_own_package(tmp_path, monkeypatch):
    package = tmp_path / "networks_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "scales.py").write_text("def double(x):\n    return 2 * x\n")
    (package / "network.py").write_text(
        "from torch import nn\n"
        "from networks_of_mine.scales import double\n\n"
        "class Network(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return double(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    teacher = EDMDigits()
    before = teacher_files(teacher)
    teacher.denoiser.part = importlib.import_module("networks_of_mine.network").Network()
    assert set(teacher_files(teacher)) - set(before) == {package / "network.py", package / "scales.py"}


def test_a_network_that_was_typed_in_has_no_file_to_depend_on():
    teacher = EDMDigits()
    before = teacher_files(teacher)
    teacher.denoiser.part = type("Typed", (torch.nn.Module,), {"__module__": "typed_in"})()
    assert teacher_files(teacher) == before


def test_a_method_depends_on_the_parts_that_it_uses_and_on_no_other_method():
    names = {input_name(file) for file in files_behind([SiD])}
    assert {"methods/sid.py", "methods/parts/fake_score.py"} <= names
    assert not names & {"methods/kd.py", "methods/pd.py", "bench/plugin/method.py"}
    assert files_behind([Method]) == []


METRIC = '''
from bench.plugin import FeatureMetric, Moments, register_metric

@register_metric("mean-norm")
class MeanNorm(FeatureMetric):
    """Length of the mean feature."""

    direction, feature, statistics = "lower", "pool", Moments

    def value(self, generated, reference):
        return float(generated["mu"].norm())
'''
DATASET = '''
import torch
from bench.plugin import InMemory, register_dataset

@register_dataset("dots")
class Dots(InMemory):
    """Eight black images."""

    def __init__(self, path=None):
        super().__init__(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
'''


def job_of(method: str, *plugins, **request):
    registry._from_files.clear()
    registry._loaded_files.clear()
    fields = {"settings": SETTINGS, "budget": "updates=2", "eval": []} | request
    fields = {"teacher": "edm-digits"} | fields
    whole = make_request(method=method, plugins=[str(p) for p in plugins], **fields)
    return make_job(whole)


def test_a_plugin_that_is_not_used_leaves_the_run_what_it_is(tmp_path):
    mine = plugin(tmp_path, METHOD.format(name="mine"), "mine.py")
    other = plugin(tmp_path, METRIC, "metric.py")
    alone, both = job_of("mine", mine), job_of("mine", mine, other)
    assert both.recipe == alone.recipe
    assert both.recipe.plugins.keys() == {str(mine)}
    assert not {str(other)} & {*both.inputs}
    shipped = {"settings": {}, "budget": "images=1k"}
    assert job_of("sid", mine, other, **shipped).recipe == job_of("sid", **shipped).recipe


def test_a_plugin_is_used_by_the_runs_that_name_what_it_registers(tmp_path):
    mine = plugin(tmp_path, METHOD.format(name="mine"), "mine.py")
    metric, dots = plugin(tmp_path, METRIC, "metric.py"), plugin(tmp_path, DATASET, "dots.py")
    sid = {"settings": {}, "budget": "images=1k"}
    measured = job_of("sid", mine, metric, dots, **sid | {"eval": ["fid", "mean-norm"]})
    assert measured.recipe.plugins.keys() == {str(metric)}
    ect = {"settings": {}, "budget": "images=1k", "data": "dots"}
    assert job_of("ect", mine, metric, dots, **ect).recipe.plugins.keys() == {str(dots)}


def test_a_plugin_is_used_by_a_method_that_builds_on_a_class_of_it(tmp_path):
    mine = plugin(tmp_path, METHOD.format(name="mine"), "mine.py")
    child = "from bench import registry\nfrom bench.plugin import register_method\n\n"
    child += '@register_method("child")\nclass Child(registry.methods.get("mine")):\n    """More."""\n'
    assert job_of("child", mine, plugin(tmp_path, child, "child.py")).recipe.plugins.keys() == {
        str(mine),
        str(tmp_path / "child.py"),
    }


def test_an_edit_of_one_plugin_leaves_the_finished_runs_of_others_finished(tmp_path):
    mine = plugin(tmp_path, METHOD.format(name="mine"), "mine.py")
    other = plugin(tmp_path, METHOD.format(name="other"), "other.py")

    def answer(method: str, *plugins):
        registry._from_files.clear()
        registry._loaded_files.clear()
        fields = {"settings": SETTINGS, "budget": "updates=2", "eval": []}
        return suite.run(
            method, "edm-digits", **fields, plugins=list(map(str, plugins)), results=tmp_path / "runs"
        )

    first = answer("mine", mine, other)
    other.write_text(
        other.read_text().replace('"""Regresses', 'print("a line of log")\n    """Regresses')
    )
    again = answer("mine", mine, other)
    assert (again.run_id, again.finished) == (first.run_id, first.finished)
    without = make_request(**first.request | {"plugins": [str(mine)]})
    assert find_finished(without, tmp_path / "runs").run_id == first.run_id
    for few in ([], [str(other)]):  # without the one that it used it is no answer
        assert find_finished(make_request(**first.request | {"plugins": few}), tmp_path / "runs") is None
    mine.write_text(mine.read_text().replace('"""Regresses', 'print("a line of log")\n    """Regresses'))
    assert answer("mine", mine, other).run_id != first.run_id


TEACHER = """
from bench import registry
from bench.plugin import open_dataset, register_teacher

@register_teacher("{name}")
class Mine(registry.teachers.get("edm-digits")):
    dataset, recipes_like = {dataset!r}, {like!r}

    def load(self, path):
        {load}
        return super().load(path)
"""


def test_a_plugin_is_used_by_the_teacher_that_reads_its_data_set_or_takes_its_recipes(tmp_path):
    dots = plugin(tmp_path, DATASET, "dots.py")
    known = {"dataset": "digits", "like": "edm-digits", "load": "pass"}
    texts = {
        "like": TEACHER.format(name="like", **known),
        "mine": TEACHER.format(name="mine", **known | {"like": "like", "load": 'open_dataset("dots")'}),
        "other": TEACHER.format(name="other", **known),
    }
    files = {name: plugin(tmp_path, text, f"{name}.py") for name, text in texts.items()}
    job = job_of("sid", dots, *files.values(), teacher="mine", settings={}, budget="images=1k")
    assert job.recipe.plugins.keys() == {str(dots), str(files["like"]), str(files["mine"])}


def test_a_card_that_is_written_after_a_run_counts(run, tmp_path):
    without, own = run(), tmp_path / "plugin.yaml"
    assert changed_inputs(without) == []
    own.write_text("defaults:\n  lr: {value: 1, source: tried}\n")
    assert changed_inputs(without) == [own]
    own.unlink()
    child = "from bench import registry\nfrom bench.plugin import register_method\n\n"
    child += '@register_method("child")\nclass Child(registry.methods.get("sid")):\n    """More."""\n'
    inputs = job_of("child", plugin(tmp_path, child, "child.py"), settings={}).inputs
    record, card = without.model_copy(update={"inputs": inputs}), tmp_path / "child.yaml"
    assert inputs[str(card)] == ""
    assert changed_inputs(record) == []
    card.write_text("defaults:\n  lr: {value: 1, source: tried}\n")
    assert changed_inputs(record) == [card]
    assert "" not in job_of("sid", settings={}).inputs.values()


EXTRACTOR = '''
from bench.plugin import FeatureExtractor, Protocol, from_uint8, register_extractor, register_protocol

@register_extractor("means")
class Means(FeatureExtractor):
    """Means over a grid."""

    image_spec, features = None, ("pool",)

    def __call__(self, images):
        return {"pool": from_uint8(images).unfold(2, 2, 2).mean((3, 4)).flatten(1)}

    def digest(self):
        return "none"

register_protocol(Protocol(family="means", samples=60, extractors=("means",), metrics=("fid",)))
'''


def test_an_edited_extractor_without_weights_is_another_one(tmp_path):
    """Its numbers share no column with those of before, nor does the teacher's old number stand beside them."""
    file, found = plugin(tmp_path, EXTRACTOR, "means.py"), []
    for text in (EXTRACTOR, EXTRACTOR.replace("unfold(2, 2, 2)", "unfold(2, 4, 4)")):
        file.write_text(text)
        made = make_job(
            make_request(method="teacher", teacher="gaussian", protocol="means-60", plugins=[str(file)])
        )
        found.append(made.recipe.evaluation.extractors)
    assert found[0]["means"] != found[1]["means"]
    assert "none" not in found[0].values()
    pixels = make_job(make_request(method="teacher", teacher="gaussian")).recipe.evaluation.extractors
    assert pixels == {"pixels": "none"}  # a built-in one, whose runs keep their ids
