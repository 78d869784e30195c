"""``bench eval`` and ``bench verify``: whatever can be measured, and the answer that is kept."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import bench as suite
from bench.evaluation.verify import TOLERANCE, Verdict
from bench.plugin import ReportedFID
from bench.runs.store import results_folder
from tests.helpers.pictures import digits_folder

FEW = ["--eval-samples", "200"]


def kept():
    return sorted(results_folder().glob("**/evaluations/*.json"))


def test_a_teacher_is_measured_and_the_answer_kept(bench):
    out = bench.ok(
        "eval",
        "teacher:edm-digits",
        *FEW,
        "--eval-repeats",
        "2",
        "--metrics",
        "fid,recall,latency,throughput",
    ).out
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "recall ↑" in out
    assert "digits-200" in lines["fid"]
    assert "digits-200" in lines["recall"]
    assert "ms, batch 1, cpu" in lines["latency"]
    assert "images/s, batch 64, cpu" in lines["throughput"]
    assert lines["generator"].split(maxsplit=1)[1] == "NFE 35, 129k parameters"
    assert "digits, 1,797 images, by bench stats" in lines["compared"]
    (file,) = kept()
    content = json.loads(file.read_text())
    assert content["replicates"] == [0, 1]
    assert content["protocol"]["id"] == "digits-200"
    assert content["protocol"]["extractors"]["digits"].startswith("a2d1c6")
    assert content["protocol"]["references"][0]["dataset"] == "digits"
    assert len(content["metrics"]["fid"]["values"]) == 2


def test_a_run_may_be_asked_for_its_speed_too(bench):
    quick = {
        "budget": "updates=2",
        "eval_samples": 60,
        "eval_repeats": 2,
        "eval_points": 2,
        "settings": {"batch": 8},
    }
    record = suite.run("sid", "edm-digits", eval=["fid", "throughput"], **quick)
    assert record.final["throughput"] > 0
    out = bench.ok("table", "--format", "csv").out
    assert "throughput" in out.splitlines()[0].lower()
    frame = suite.results().set_index("metric")
    assert frame.loc["throughput", "direction"] == "higher"
    assert "batch 64" in frame.loc["throughput", "protocol"]


def test_where_papers_quote_the_smallest_of_the_replicates_the_table_has_it_as_a_column(bench, tmp_path):
    plugin = tmp_path / "three.py"
    plugin.write_text(
        "from bench.plugin import Protocol, register_protocol\n"
        "register_protocol(Protocol('three', 60, ('digits',), ('fid', 'is'), repeats=3, selection='min'))\n"
    )
    common = {"plugins": [str(plugin)], "protocol": "three-60"}
    record = suite.run("teacher", "edm-digits", settings={"steps": 3}, **common)
    values = record.evaluations[-1].metrics["fid"].values
    frame = suite.results().set_index("metric")
    assert frame.loc["fid", "value"] == pytest.approx(sum(values) / 3)
    assert frame.loc["fid-min3", "value"] == min(values)
    asked = ["eval", "teacher:edm-digits", "--plugin", str(plugin), "--protocol", "three-60"]
    out = bench.ok(*asked).out
    assert "smallest of 3: " in out


def test_the_same_question_is_kept_once_and_another_apart(bench):
    for repeats in ("1", "1", "2"):
        assert (
            bench("eval", "teacher:edm-digits", *FEW, "--eval-repeats", repeats, "--metrics", "fid")[0]
            == 0
        )
    assert len(kept()) == 2


def test_a_run_is_measured_on_seeds_that_chose_nothing_and_the_answer_lies_beside_it(bench):
    quick = {
        "budget": "updates=2",
        "eval_samples": 60,
        "eval_repeats": 2,
        "eval_points": 2,
        "settings": {"batch": 8},
    }
    record = suite.run("sid", "edm-digits", **quick)
    content = bench.json("eval", record.run_id, "--eval-samples", "60", "--eval-repeats", "2")
    assert content["replicates"] == [1, 2]
    assert content["metrics"]["fid"]["value"] == pytest.approx(record.final["fid"], abs=1e-9)
    assert [file.parent.parent.name for file in kept()] == [record.run_id]
    assert bench("list", "runs")[1].count("\n") == 1


def test_a_folder_of_images_is_measured(bench, tmp_path):
    folder = digits_folder(tmp_path / "images")
    asked = ["eval", folder, "--protocol", "digits-5k", "--metrics", "fid,precision", "--format", "json"]
    out = bench.ok(*asked, "--eval-samples", "120", "--reference", folder).out
    content = json.loads(out)
    assert content["metrics"]["fid"]["value"] < 1e-6
    assert content["metrics"]["precision"]["value"] == 1
    assert content["metrics"]["fid"]["protocol"].startswith(
        "digits-120@"
    )  # a reference that is not the protocol's own
    assert content["nfe"] is None
    assert content["protocol"]["labels"] == "as the images are"
    out, err = bench.ok(*asked, "--eval-samples", "100", "--reference", "digits")
    assert "100 of its 120 images are measured" in err
    assert json.loads(out)["metrics"]["fid"]["value"] > 0.1
    assert json.loads(out)["metrics"]["fid"]["protocol"] == "digits-100"


def test_answers_about_folders_of_one_name_are_kept_apart(bench, tmp_path, monkeypatch):
    for name, count in (("a", 60), ("b", 70)):
        (tmp_path / name).mkdir()
        digits_folder(tmp_path / name / "samples", count)
        monkeypatch.chdir(tmp_path / name)
        asked = [
            "--protocol",
            "digits-5k",
            "--eval-samples",
            "60",
            "--metrics",
            "fid",
            "--reference",
            "digits",
        ]
        assert bench("eval", "samples", *asked)[0] == 0
    assert len(kept()) == 2


def test_a_moved_best_checkpoint_is_not_measured_on_the_seeds_that_chose_it(bench, tmp_path):
    quick = {
        "budget": "updates=2",
        "eval_samples": 60,
        "eval_repeats": 1,
        "eval_points": 2,
        "settings": {"batch": 8},
    }
    record = suite.run("sid", "edm-digits", **quick)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(
        (results_folder() / record.run_id / "checkpoints" / "generator.safetensors").read_bytes()
    )
    out = bench.ok(
        "eval", str(moved), "--eval-samples", "60", "--eval-repeats", "1", "--format", "json"
    ).out
    assert json.loads(out)["replicates"] == [1]
    assert json.loads(out)["metrics"]["fid"]["value"] == pytest.approx(record.final["fid"], abs=1e-9)


def test_what_cannot_be_measured_of_a_folder_is_one_sentence(bench, tmp_path):
    folder, colours = (
        digits_folder(tmp_path / "images"),
        digits_folder(tmp_path / "colours", 20, channels=3),
    )
    same = digits_folder(tmp_path / "same", 1)
    for i in range(40):
        Image.new("L", (8, 8), 7).save(tmp_path / "same" / f"{i:04d}.png")
    digits = ["--protocol", "digits-5k", "--reference", "digits"]
    for arguments, complaint in (
        ([folder], "name no protocol; give one with --protocol"),
        (
            [folder, "--protocol", "digits-5k"],
            "say --reference and one of digits, or a data set or a file",
        ),
        (
            [folder, *digits],
            "holds 120 images, digits-5k takes 5,000; give more, or say --eval-samples 120",
        ),
        ([folder, *digits, "--eval-repeats", "2"], "one replicate"),
        ([colours, *digits, "--eval-samples", "20"], "takes 1x8x8 images, those of"),
        ([same, *digits, "--eval-samples", "40"], "all images are the same"),
        ([str(tmp_path / "nowhere")], "there is no file or folder"),
        ([str(tmp_path / "nowhere.zip"), *digits], "there is no file"),
        ([folder, *digits, "--eval-samples", "100", "--metrics", "latency"], "makes no images"),
    ):
        code, out, err = bench("eval", *arguments)
        assert code in (1, 2), arguments
        assert out == ""
        assert complaint in err, err
        assert err.count("\n") == 1 + err.count("note: "), err
    assert kept() == []


def test_fewer_images_than_dimensions_are_told(bench):
    _, _, err = bench(
        "eval", "teacher:edm-digits", "--eval-samples", "50", "--metrics", "fid", "--eval-repeats", "1"
    )
    assert "50 images are not more than the 64 dimensions of their features" in err


def test_cross_check_measures_the_same_images_by_other_libraries(bench):
    asked = [
        "eval",
        "teacher:edm-digits",
        "--eval-samples",
        "1200",
        "--eval-repeats",
        "1",
        "--cross-check",
        "--format",
        "json",
    ]
    out = bench.ok(*asked, "--metrics", "fid,is,precision,recall").out
    content = json.loads(out)
    rows = {(row["metric"], row["formula"]): row for row in content["cross_check"]}
    for metric in ("fid", "is", "precision", "recall"):
        assert rows[metric, "distill-bench"]["value"] == content["metrics"][metric]["value"]
        assert rows[metric, "torch-fidelity"]["difference"] == pytest.approx(0, abs=1e-5)
    code, _, err = bench(*asked, "--metrics", "density")
    assert code == 2
    assert "no other library here computes density" in err


def test_verify_compares_with_the_published_number(bench):
    code, out, err = bench("verify", "teacher:edm-digits", "--format", "json", "--tolerance", "0.00001")
    assert code == 1, err
    content = json.loads(out)
    assert not content["verdict"]["passed"]
    assert content["verdict"]["measured"] == content["metrics"]["fid"]["value"]
    assert abs(content["verdict"]["difference"]) < TOLERANCE
    assert content["published"]["fid"] == 1.48


@pytest.mark.parametrize(
    ("measured", "passed"), [(1.9, True), (2.0, True), (2.1, True), (1.89, False), (2.11, False)]
)
def test_a_number_passes_within_the_tolerance_on_both_sides(measured, passed):
    assert Verdict(ReportedFID(2.0, 35, "a paper"), measured, 0.0500001, {}).passed == passed


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("edm-digits", "is a teacher and no run; say teacher:edm-digits"),
        ("teacher:gaussian", "no FID of 'teacher:gaussian' is known to be published"),
        ("teacher:edm-digit", "did you mean 'edm-digits'?"),
    ],
)
def test_what_has_no_published_number_cannot_be_verified(bench, source, complaint):
    code, out, err = bench("verify", source)
    assert (code, out) == (2, "")
    assert complaint in err
