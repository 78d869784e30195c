"""``bench export``: every form is taken where a run is taken, and has the run's numbers."""

from __future__ import annotations

import re

import pytest
import torch
from huggingface_hub import ModelCard

import bench as suite
from bench.errors import UsageError
from bench.evaluation.export import teacher_licence
from bench.files.tensors import load_tensors
from bench.runs.exported import FORMS, exported_weights, portable
from bench.runs.store import results_folder
from tests.helpers.plugins import METHOD, SETTINGS, plugin

QUICK = {"budget": "updates=3", "eval_points": 2, "eval_samples": 60, "eval_repeats": 2}
ASKED = ["--eval-samples", "60", "--eval-repeats", "2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run of SiD."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, suite.run("sid", "edm-digits", results=folder, settings={"batch": 8}, **QUICK)


def export(finished, to, form):
    folder, record = finished
    return suite.export(record.run_id, to, form=form, results=folder)


@pytest.mark.parametrize("form", ["safetensors", "hf"])
def test_as_tensors_it_has_the_runs_numbers_to_the_bit_by_its_folder_and_by_its_file(
    bench, tmp_path, finished, form
):
    folder = export(finished, tmp_path / "mine", form)
    for place in (folder, folder / FORMS[form]):
        content = bench.json("eval", place, *ASKED)
        assert content["metrics"]["fid"]["value"] == finished[1].final["fid"]
        assert content["metrics"]["is"]["value"] == finished[1].final["is"]
    run = finished[0] / finished[1].run_id / "checkpoints" / "generator.safetensors"
    own, exported = load_tensors(run)[0], load_tensors(folder / FORMS[form])[0]
    assert own.keys() == exported.keys()
    assert all(torch.equal(own[name], exported[name]) for name in own)
    again = suite.export(folder, tmp_path / "again", form="safetensors")
    assert load_tensors(exported_weights(again))[0].keys() == own.keys()


def test_as_a_graph_it_has_the_runs_numbers_to_rounding_and_runs_without_torch(
    bench, tmp_path, finished
):
    pytest.importorskip("onnxruntime")
    folder = export(finished, tmp_path / "mine", "onnx")
    content = bench.json("eval", folder, *ASKED)
    assert content["metrics"]["fid"]["value"] == pytest.approx(finished[1].final["fid"], abs=1e-3)
    assert content["parameters"] == finished[1].parameters
    assert content["nfe"] == 1
    own = suite.load_generator(finished[1].run_id, results=finished[0])(20, seed=5)
    graph = suite.load_generator(folder / "generator.onnx")(20, seed=5)
    torch.testing.assert_close(graph, own, atol=1e-5, rtol=0)
    assert not torch.equal(own[0], own[1])
    card = (folder / "README.md").read_text()
    example = re.findall(r"```python\n(import numpy.*?)```", card, re.DOTALL)[0]
    names: dict = {}
    exec(example.replace("generator.onnx", str(folder / "generator.onnx")), names)
    assert names["images"].shape == (16, 1, 8, 8)
    with pytest.raises(UsageError, match="is a graph, which no other form is made of"):
        suite.export(folder, tmp_path / "other", form="hf")
    with pytest.raises(UsageError, match="holds all its weights, given --path"):
        suite.load_generator(folder, path="x.safetensors")


def test_the_card_is_one_that_hugging_face_reads_and_its_numbers_are_measured_again_as_it_says(
    bench, tmp_path, finished
):
    folder = export(finished, tmp_path / "mine", "hf")
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "distill-bench"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == finished[1].final
    assert "@inproceedings{zhou2024score" in card.text
    assert finished[1].checkpoint.tensors_sha256 in card.text
    command = re.search(r"^bench (eval FOLDER .*)$", card.text, re.MULTILINE)[1]
    content = bench.json(*command.replace("FOLDER", str(folder)).split())
    assert content["metrics"]["fid"]["value"] == finished[1].final["fid"]
    asked = ["--recipe", folder / "recipe.yaml", "--results", finished[0], "--no-teacher"]
    assert bench.json("run", *asked)["run_id"] == finished[1].run_id


def test_what_cannot_be_exported_is_said_and_leaves_nothing_behind(bench, tmp_path, finished):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    run = finished[0] / finished[1].run_id
    teacher = suite.run("teacher", "edm-digits", settings={"steps": 2}, eval=[])
    noisy = suite.run(
        "dmd2",
        "edm-digits",
        budget="updates=1",
        eval=[],
        settings={"batch": 8, "gan": 0, "resample": [1.0]},
    )
    before = sorted(p for p in tmp_path.rglob("*") if "runs" not in p.parts)
    for arguments, sentence in [
        ([run, "-o", tmp_path / "full"], "is there already"),
        ([run, "-o", tmp_path / "full" / "mine.txt"], "is there already"),
        ([run, "--to", "pickle", "-o", tmp_path / "new"], "unknown form 'pickle'"),
        (["teacher:edm-digits", "-o", tmp_path / "new"], "unknown run 'teacher:edm-digits'"),
        ([teacher.run_id, "-o", tmp_path / "new"], "has trained nothing"),
        ([noisy.run_id, "--to", "onnx", "-o", tmp_path / "a" / "new"], "draws fresh noise"),
    ]:
        code, out, err = bench("export", *arguments)
        assert (code, out) == (2, ""), err
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
    assert sorted(p for p in tmp_path.rglob("*") if "runs" not in p.parts) == before
    bench.ok("export", noisy.run_id, "-o", tmp_path / "new")
    assert bench.json("eval", tmp_path / "new", *ASKED)["nfe"] == 2


def test_a_plugin_is_named_by_its_digest_and_has_to_be_given_to_load_what_it_made(
    bench, tmp_path, monkeypatch
):
    mine = plugin(tmp_path, METHOD.format(name="constant"), "mine.py")
    record = suite.run(
        "constant", "edm-digits", plugins=[str(mine)], settings=SETTINGS, budget="updates=1", eval=[]
    )
    folder = suite.export(record.run_id, tmp_path / "exported", plugins=[mine])
    card = (folder / "README.md").read_text()
    assert f"`mine.py` of SHA-256 {record.recipe.plugins[str(mine)]}" in card
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["README.md", "generator.safetensors", "recipe.yaml"]
    )
    for file in folder.iterdir():  # where things lie on this machine is nobody's business
        assert str(tmp_path).encode() not in file.read_bytes()
    from bench import registry

    registry._from_files.clear()
    registry._loaded_files.clear()
    code, _, err = bench("sample", folder, "-n", "4", "-o", tmp_path / "grid.png")
    assert code == 2
    assert "was made with the plugin 'mine.py'" in err
    bench.ok("sample", folder, "-n", "4", "-o", tmp_path / "grid.png", "--plugin", mine)


def test_an_export_starts_another_run_as_its_run_does(tmp_path, finished):
    folder = export(finished, tmp_path / "mine", "hf")
    common = {"budget": "updates=4", "eval": []}
    record = suite.run("sid2a", "edm-digits", settings={"batch": 8, "start": str(folder)}, **common)
    assert record.status == "done"


def test_a_recipe_is_exported_without_the_folders_of_its_machine():
    recipe = {
        "teacher_path": "/home/me/t.pkl",
        "plugins": {"/home/me/p.py": "d1"},
        "data": "/home/me/images.zip",
        "settings": {"start": "/home/me/runs/sid", "alpha": 1.0},
        "evaluation": {"extractor_path": "/home/me/i.pt", "reference": "/home/me/r.npz", "samples": 5},
    }
    assert portable(recipe) == {
        "teacher_path": None,
        "plugins": {"p.py": "d1"},
        "data": "images.zip",
        "settings": {"start": "sid", "alpha": 1.0},
        "evaluation": {"extractor_path": None, "reference": "r.npz", "samples": 5},
    }
    assert portable({"data": "cifar10", "evaluation": None})["data"] == "cifar10"


def test_the_licence_of_a_teacher_is_that_of_its_weights():
    assert teacher_licence("edm-cifar10")[0].startswith("CC BY-NC-SA 4.0")
    assert teacher_licence("edm-digits") == (
        "Apache-2.0",
        "the package distill-bench, which ships the teacher",
    )
    assert teacher_licence("diffusers:google/ddpm-cifar10-32") == (
        "not known to distill-bench",
        "https://huggingface.co/google/ddpm-cifar10-32 states it",
    )


def test_an_export_among_the_runs_is_no_run_that_lacks_its_record(bench, finished):
    export(finished, results_folder() / "mine", "safetensors")
    assert bench.ok("list", "runs").err == "no runs yet\n"


def test_a_folder_of_images_and_a_run_are_no_exports(tmp_path, finished):
    (tmp_path / "generator.onnx").write_bytes(b"")
    assert exported_weights(tmp_path) is None
    assert exported_weights(finished[0] / finished[1].run_id) is None
    assert exported_weights(results_folder() / ("x" * 300)) is None


def test_a_graph_of_somebody_else_is_refused(bench, tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "generator.onnx"
    file.write_bytes(b"not a graph")
    code, _, err = bench("sample", file, "-o", tmp_path / "grid.png")
    assert code == 2
    assert "is not an ONNX graph that onnxruntime reads" in err
