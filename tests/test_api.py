"""The suite from Python: the example notebook, and what its calls return."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
import torch

import bench
from bench.errors import UsageError
from bench.runs.budget import AXES

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one short run of SiD."""
    folder = tmp_path_factory.mktemp("runs")
    made = bench.run(
        "sid",
        "edm-digits",
        results=folder,
        settings={"batch": 16},
        budget="updates=2",
        eval_points=3,
        eval_samples=60,
        eval_repeats=1,
    )
    return folder, made


def test_the_example_notebook_runs(tmp_path, monkeypatch):
    """As it stands, but for fewer images."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    mpl.use("Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec("".join(cell["source"]).replace("32k", "1k").replace("1000", "100"), names)
    assert set(names["curves"].columns) == {"sid", "diff-instruct"}
    assert names["images"].shape == (32, 1, 8, 8)
    assert names["record"].run_id in set(names["numbers"].run_id)  # found, and not made again
    assert len(names["numbers"].run_id.unique()) == 5  # two methods, two seeds, and the teacher


def test_every_point_along_a_run_is_a_row_of_the_curves(finished):
    folder, made = finished
    points = bench.curves(folder)
    assert len(points) == sum(len(e.metrics) for e in made.evaluations) == 6
    fid = points[points.metric == "fid"]
    assert list(fid.updates) == [0, 1, 2]
    for axis in AXES:
        assert list(fid[axis]) == [getattr(e, axis) for e in made.evaluations]
    assert list(fid.value) == [e.metrics["fid"].value for e in made.evaluations]
    assert set(points.direction) == {"lower", "higher"}
    last = bench.results(folder).set_index("metric").value
    assert last["fid"] == fid.value.iloc[-1] == made.final["fid"]
    assert isinstance(bench.curves(folder / "empty"), pd.DataFrame)


def test_a_leaderboard_is_a_table_in_a_notebook_and_in_a_terminal(finished):
    folder, made = finished
    table = bench.leaderboard(folder)
    number = f"{made.final['fid']:.2f}"
    assert number in repr(table)
    shown = table._repr_html_()
    assert number in shown
    assert shown.startswith("<table>")  # no page of its own, whose style would be the notebook's
    assert "<style>" not in shown
    assert table.text("latex").startswith("% Needs")
    assert "FLOPs" not in bench.leaderboard(folder, columns=["method", "fid"]).text()
    assert "1.923" in bench.leaderboard(folder, teachers=["edm-cifar10"], published=True).text("md")
    with pytest.raises(UsageError, match="latxe"):
        table.text("latxe")


def test_a_generator_makes_each_image_from_its_seed(finished):
    folder, made = finished
    generate = bench.load_generator(made.run_id, results=folder)
    images = generate(12, seed=5)
    assert images.shape == (12, 1, 8, 8)
    assert images.isfinite().all()
    torch.testing.assert_close(generate(8, seed=9), images[4:], rtol=0, atol=1e-5)
    torch.testing.assert_close(bench.load_generator(folder / made.run_id)(12, seed=5), images)
    assert (generate.nfe, generate.image_spec.shape) == (1, (1, 8, 8))
    assert bench.picture(images, columns=4).size[0] > bench.picture(images, columns=3).size[0]
    assert bench.load_generator("teacher:edm-digits", settings={"steps": 3}).nfe == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"count": 0}, "the count of images is 0, expected 1 or more"),
        ({"seed": -1}, "the seed of images is -1, expected 0 or more"),
        ({"classes": 3}, "not conditioned on classes"),
    ],
)
def test_what_cannot_be_sampled_is_said(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        bench.load_generator("teacher:edm-digits", settings={"steps": 2})(**arguments)
