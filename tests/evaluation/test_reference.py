"""Statistics of real images: read from every layout, measured where no file has them, refused where
they do not fit.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import bench as suite
from bench.errors import UsageError
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.make_reference import write_reference
from bench.evaluation.plan import TargetSpec, plan_evaluation
from bench.files.tensors import load_tensors, save_tensors, tensors_digest
from bench.plugin import open_dataset
from bench.plugin.images import ImageSpec
from bench.runs.options import EvaluationOptions
from bench.runs.recipe import make_request
from bench.training import job
from bench.training.fingerprint import files_behind
from evals.inception import Inception
from tests.helpers.pictures import digits_folder

CPU = torch.device("cpu")
DIGITS = TargetSpec("some digits", ImageSpec(1, 8), "digits", "digits-5k")


def noise(z, labels, draw):
    return z.clamp(-1, 1)


def measured(
    *metrics: str, reference: str | None = None, samples: int = 300, subject: TargetSpec = DIGITS
):
    """The values of these metrics of noise, and the facts of the references that were used."""
    evaluator = Evaluator(
        plan_evaluation(
            EvaluationOptions(
                eval=metrics, eval_samples=samples, reference=reference and str(reference)
            ),
            subject,
        ),
        CPU,
    )
    return {
        name: m.value for name, m in evaluator.measure(noise, [0]).items()
    }, evaluator.references.facts


@pytest.fixture
def statistics(tmp_path):
    """A file of moments and of all features of the digits."""
    file = tmp_path / "digits.safetensors"
    write_reference("digits", file, metrics=["fid", "recall"])
    return file


def changed(file, tmp_path, **facts):
    """The same numbers with another description."""
    tensors, meta = load_tensors(file)
    other = tmp_path / "changed.safetensors"
    save_tensors(other, tensors, meta | facts)
    return other


def test_a_file_of_statistics_gives_what_measuring_the_data_set_gives(statistics):
    metrics = ("fid", "precision", "recall", "density", "coverage", "memorization")
    read, facts = measured(*metrics, reference=statistics)
    fresh, _ = measured(*metrics, reference="digits")
    for name in metrics:
        assert read[name] == pytest.approx(
            fresh[name], rel=1e-6
        )  # features in batches of another size: float32 rounding
    assert [f["builder"] for f in facts] == ["bench stats"]
    assert facts[0]["dataset"] == "digits"
    assert len(facts[0]["sha256"]) == 64


def test_what_a_shipped_file_lacks_is_measured_from_the_data_set():
    _, facts = measured("fid", "recall")
    assert [f["dataset"] for f in facts] == ["digits"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_and_covariance_in_numpys_format_give_the_same(tmp_path, statistics, dtype):
    tensors, _ = load_tensors(statistics)
    file = tmp_path / "mine.npz"
    np.savez(
        file,
        **{
            name: tensors[f"moments.digits.pool.{name}"].numpy().astype(dtype)
            for name in ("mu", "sigma")
        },
    )
    value, facts = measured("fid", reference=file)
    assert value["fid"] == pytest.approx(
        measured("fid", reference=statistics)[0]["fid"], rel=1e-9 if dtype == "float64" else 1e-4
    )
    assert facts[0]["builder"] == "unknown"


def test_features_in_clean_fids_format_are_compared_one_by_one(tmp_path, statistics):
    tensors, _ = load_tensors(statistics)
    file = tmp_path / "mine_kid.npz"
    np.savez(file, feats=tensors["bank.digits.pool.features"].numpy())
    assert measured("recall", reference=file)[0] == measured("recall", reference=statistics)[0]


@pytest.mark.parametrize("count", [None, 40], ids=["more than dimensions", "fewer"])
def test_the_mean_and_covariance_of_features_give_fid(tmp_path, statistics, count):
    """The same FID as that of numpy's own mean and covariance of them."""
    features = load_tensors(statistics)[0]["bank.digits.pool.features"][:count].double().numpy()
    np.savez(tmp_path / "features.npz", feats=features.astype(np.float32))
    np.savez(tmp_path / "moments.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    of_features, of_moments = (
        measured("fid", reference=tmp_path / name)[0]["fid"] for name in ("features.npz", "moments.npz")
    )
    assert of_features == pytest.approx(of_moments, rel=1e-5)


def test_images_in_openais_format_are_measured(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    file = tmp_path / "mine.npz"
    np.savez(file, arr_0=pixels)
    subject = TargetSpec("colours", ImageSpec(3, 8), None, "pixels-5k")
    value, _ = measured("fid", "recall", reference=file, subject=subject, samples=100)
    folder = tmp_path / "images"
    folder.mkdir()
    from PIL import Image

    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    assert value == pytest.approx(
        measured("fid", "recall", reference=folder, subject=subject, samples=100)[0], abs=1e-9
    )


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        (
            {"extractors": {"digits": "f00d" * 16}},
            r"weights f00df00df00d of the extractor 'digits'.*here are [0-9a-f]{12}",
        ),
        (
            {"extractors": {"clean": "f00d" * 16}, "protocol": "clean-50k"},
            r"of another protocol, clean-50k; digits-300 uses",
        ),
        (
            {"dataset": "cifar10"},
            r"is of the data set 'cifar10', the images of 'some digits' are to be like 'digits'",
        ),
        ({"shape": [3, 32, 32]}, r"is of 3x32x32 images, those of 'some digits' are 1x8x8"),
        ({"tensors_sha256": "0"}, r"is damaged, its numbers are not those it was written with"),
    ],
)
def test_a_reference_of_something_else_is_refused_naming_both(statistics, tmp_path, facts, complaint):
    with pytest.raises(UsageError, match=complaint):
        measured("fid", reference=changed(statistics, tmp_path, **facts))


def test_a_published_file_of_another_protocol_is_known_by_its_name(tmp_path, statistics):
    tensors, _ = load_tensors(statistics)
    file = tmp_path / "cifar10_clean_train_32.npz"
    np.savez(file, **{name: tensors[f"moments.digits.pool.{name}"].numpy() for name in ("mu", "sigma")})
    with pytest.raises(
        UsageError,
        match=r"of another protocol, clean-fid clean with the extractor clean; digits-300 uses",
    ):
        measured("fid", reference=file)


def test_a_metric_that_finds_no_statistics_says_what_is_needed(tmp_path, statistics):
    tensors, _ = load_tensors(statistics)
    file = tmp_path / "mine.npz"
    np.savez(file, **{name: tensors[f"moments.digits.pool.{name}"].numpy() for name in ("mu", "sigma")})
    with pytest.raises(
        UsageError,
        match=r"'recall' needs all features of real images.*bench stats DATASET.*--metrics recall",
    ):
        measured("recall", reference=file)


def test_files_that_hold_no_statistics_are_refused(tmp_path, statistics):
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, {"a": torch.zeros(2)}, {"recipe": {}})
    with pytest.raises(UsageError, match="holds no reference statistics"):
        measured("fid", reference=weights)
    whole = statistics.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        statistics.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="is not a safetensors file"):
            measured("fid", reference=statistics)
    damaged = bytearray(whole)
    damaged[-9] ^= 0x40
    statistics.write_bytes(bytes(damaged))
    with pytest.raises(UsageError, match="damaged"):
        measured("fid", reference=statistics)
    with pytest.raises(UsageError, match="nowhere"):
        measured("fid", reference=tmp_path / "nowhere.npz")


def test_a_run_whose_reference_cannot_be_used_leaves_no_folder(tmp_path, statistics):
    file = changed(statistics, tmp_path, dataset="cifar10")
    request = {
        "budget": "updates=2",
        "eval_samples": 60,
        "settings": {"batch": 8},
        "results": tmp_path / "runs",
    }
    with pytest.raises(UsageError, match="is of the data set 'cifar10'"):
        suite.run("sid", "edm-digits", reference=str(file), **request)
    assert list((tmp_path / "runs").glob("*")) == []
    record = suite.run("sid", "edm-digits", reference=str(statistics), **request)
    ((label, protocol),) = record.protocols.items()
    assert label.startswith("digits-60@")
    assert record.evaluations[-1].metrics["fid"].protocol == label
    assert protocol.references[0]["builder"] == "bench stats"
    assert record.recipe.evaluation.references == protocol.references[0]["sha256"]


def test_a_finished_run_is_not_reused_for_a_folder_whose_content_has_changed(tmp_path, bench):
    folder = digits_folder(tmp_path / "real", 80)
    asked = [
        "run",
        "--method",
        "teacher",
        "--teacher",
        "edm-digits",
        "--set",
        "steps=2",
        "--eval",
        "fid",
        "--eval-samples",
        "60",
    ]
    asked += ["--eval-repeats", "1", "--reference", folder, "--format", "json"]
    first = json.loads(bench(*asked)[1])
    assert json.loads(bench(*asked)[1])["started"] == first["started"]
    for i in range(30):
        (tmp_path / "real" / f"{i:04d}.png").unlink()
    second = json.loads(bench(*asked)[1])
    assert second["run_id"] != first["run_id"]
    assert second["final"]["fid"] != first["final"]["fid"]


def test_an_edited_metric_makes_another_run(monkeypatch):
    request = make_request(method="sid", teacher="edm-digits", budget="updates=2")
    before = job.make_job(request).recipe
    behind = [file.name for file in files_behind([Inception])]
    assert {"inception.py", "resize.py"} <= set(behind)
    monkeypatch.setattr(job, "code_of", lambda files: " ".join(f.name for f in files))
    after = job.make_job(request).recipe
    assert after.evaluation.code == "digits.py fid.py inception_score.py"
    assert after.hash() != before.hash()


def test_statistics_are_never_taken_from_another_extractor_with_the_same_feature(tmp_path, bench):
    plugin = tmp_path / "two.py"
    plugin.write_text(
        """
from bench.plugin import FeatureExtractor, Protocol, register_extractor, register_protocol

@register_extractor("rows")
class Rows(FeatureExtractor):
    image_spec, features = None, ("pool",)
    def __call__(self, images):
        return {"pool": images.float().mean((1, 3))}
    def digest(self):
        return "rows"

register_protocol(Protocol("mix", 200, ("rows", "digits"), ("fid",)))
register_protocol(Protocol("other", 200, ("digits", "rows"), ("fid",)))
"""
    )
    common = ["--plugin", str(plugin), "--eval-repeats", "1", "--format", "json"]
    values = {}
    for metrics in ("fid", "fid,is"):
        out = bench.ok(
            "eval", "teacher:edm-digits", "--protocol", "mix-200", "--metrics", metrics, *common
        ).out
        values[metrics] = json.loads(out)["metrics"]["fid"]["value"]
    assert values["fid"] == values["fid,is"]
    file = str(tmp_path / "other.safetensors")
    assert (
        bench("stats", "digits", "--protocol", "other-200", "--plugin", str(plugin), "-o", file)[0] == 0
    )
    asked = ["--protocol", "mix-200", "--reference", file, *common]
    code, out, err = bench("eval", "teacher:edm-digits", "--metrics", "fid", *asked)
    assert (code, out) == (2, "")
    assert "of another protocol, other-200; mix-200 uses the extractor rows" in err
    out, err = bench.ok("eval", "teacher:edm-digits", "--metrics", "fid,is", *asked)
    assert "measuring the real images of digits" in err  # rather than take what the file has
    assert json.loads(out)["metrics"]["fid"]["value"] == values["fid"]


def test_fid_test_compares_with_held_out_images_alone(tmp_path, bench):
    file, folder = tmp_path / "r.safetensors", str(digits_folder(tmp_path / "unseen", 90))
    asked = ["--metrics", "fid,fid-test", "-o", str(file)]
    bench.ok("stats", "digits", "--max-size", "700", "--held-out", folder, *asked)
    others = tmp_path / "o.safetensors"
    bench.ok("stats", folder, "--protocol", "digits-5k", "--metrics", "fid", "-o", str(others))
    found, _ = measured("fid", "fid-test", reference=file)
    assert found["fid-test"] == pytest.approx(measured("fid", reference=others)[0]["fid"])
    assert found["fid-test"] != pytest.approx(found["fid"])
    with pytest.raises(UsageError, match=r"held-out images .* 'digits' has none; .* --held-out OTHERS"):
        measured("fid", "fid-test")
    code, _, err = bench("stats", "digits", *asked)
    assert "'fid-test' compares with images that no training has seen; give them by --held-out" in err
    assert code == 2


def test_held_out_images_are_what_memorization_compares_with(tmp_path, bench):
    folder, file = digits_folder(tmp_path / "unseen", 50), tmp_path / "r.safetensors"
    asked = ["--metrics", "memorization", "-o", str(file)]
    bench.ok("stats", "digits", "--held-out", folder, *asked)
    tensors, meta = load_tensors(file)
    assert tensors["bank.digits.pool.held_out"].shape == (50, 64)
    assert meta["held_out"] == "unseen"
    assert (
        measured("memorization", reference=file)[0]["memorization"] < 0.05
    )  # these held-out images are among the digits
    code, _, err = bench("stats", "digits", "--held-out", folder, "-o", str(file))
    assert code == 2
    assert "add --metrics memorization" in err


def test_a_data_set_of_another_kind_of_image_is_no_reference():
    with pytest.raises(
        UsageError,
        match="is of the data set 'gaussian', the images of 'some digits' are to be like 'digits'",
    ):
        measured("fid", reference="gaussian")
    with pytest.raises(UsageError, match="is of 2x1x1 images, those of 'some digits' are 1x8x8"):
        measured(
            "fid",
            reference="gmm-ring",
            subject=TargetSpec("some digits", ImageSpec(1, 8), None, "digits-5k"),
        )


def test_files_with_the_wrong_tensors_are_refused(tmp_path):
    for tensors in (
        {"moments.digits.pool.mu": torch.zeros(3)},
        {"moments.digits.pool.mu": torch.zeros(3), "moments.digits.pool.sigma": torch.eye(2)},
        {"bank.digits.pool.features": torch.zeros(3)},
        {"x": torch.zeros(3)},
    ):
        file = tmp_path / "odd.safetensors"
        meta = {
            "dataset": "digits",
            "protocol": "digits-5k",
            "extractors": {},
            "tensors_sha256": tensors_digest(tensors),
        }
        save_tensors(file, tensors, meta)
        with pytest.raises(UsageError, match="which are no statistics"):
            measured("fid", reference=file)
        save_tensors(file, tensors, meta | {"extractors": 3})
        with pytest.raises(UsageError, match="holds no reference statistics"):
            measured("fid", reference=file)


def test_statistics_are_written_under_the_name_of_their_format(bench, tmp_path):
    for name in ("r.npz", "folder.safetensors"):
        (tmp_path / "folder.safetensors").mkdir(exist_ok=True)
        code, _, err = bench("stats", "digits", "-o", str(tmp_path / name))
        assert code == 2
        assert "name a file that ends in .safetensors" in err


@pytest.mark.parametrize(("metric", "content"), [("fid", "moments"), ("recall", "features")])
def test_features_of_other_dimensions_are_refused_before_an_image_is_made(
    tmp_path, monkeypatch, metric, content
):
    file = tmp_path / "mine.npz"
    if content == "moments":
        np.savez(file, mu=np.zeros(5), sigma=np.eye(5))
    else:
        np.savez(file, feats=np.zeros((9, 5), dtype=np.float32))
    monkeypatch.setattr(Evaluator, "measure", lambda *_: pytest.fail("images were made"))
    with pytest.raises(
        UsageError, match=r"mine.npz' has features of 5 dimensions, those of digits are of 64"
    ):
        measured(metric, reference=file)


def test_the_statistics_of_the_reference_against_itself_are_zero_apart(statistics):
    """Every image of the data set as a generated one."""
    images = open_dataset("digits").read(range(1797))[0]
    evaluator = Evaluator(
        plan_evaluation(
            EvaluationOptions(eval=["fid", "precision", "recall"], eval_samples=1797), DIGITS
        ),
        CPU,
    )
    found = evaluator.measure_images(lambda places: images[places.start : places.stop], [0])
    assert found["fid"].value < 1e-6
    assert found["precision"].value == found["recall"].value == 1


def test_bench_stats_says_how_its_file_was_made(statistics):
    tensors, meta = load_tensors(statistics)
    assert meta["made_by"] == "bench stats digits --metrics fid,recall"
    assert meta["shape"] == [1, 8, 8]
    assert meta["tensors_sha256"] == tensors_digest(tensors)
    assert set(tensors) == {
        "moments.digits.pool.mu",
        "moments.digits.pool.sigma",
        "moments.digits.pool.count",
        "bank.digits.pool.features",
    }
