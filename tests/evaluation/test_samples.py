"""Samples as they are exchanged: written by ``bench sample`` and measured by ``bench eval``, in every form."""

import json
import re
import zipfile

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.evaluation.pictures import WRITERS
from bench.evaluation.sampling import quantised
from bench.factory import open_generator
from bench.plugin.dataset import find_dataset

COUNT = 30
MEASURE = ("--protocol", "pixels-5k", "--reference", "digits", "--metrics", "fid")


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """The images of the first seeds of the embedded teacher, uint8."""
    generator = open_generator("teacher:edm-digits", tmp_path_factory.mktemp("none"), device="cpu")
    spec = generator.teacher.image_spec
    return quantised(generator.generate, spec, generator.device, range(COUNT))


@pytest.mark.parametrize("name", ["folder", "sid-alpha1.2", *(f"s{form}" for form in WRITERS), "S.NPZ"])
def test_what_is_sampled_is_measured_in_every_form(bench, tmp_path, pixels, name):
    output = tmp_path / name
    bench.ok("sample", "teacher:edm-digits", "-n", COUNT, "-o", output)
    images, _ = find_dataset(str(output), labels=False)().read(range(COUNT))
    assert torch.equal(images, pixels)
    code, out, _ = bench("eval", str(output), *MEASURE, "--eval-samples", COUNT, "--format", "json")
    np.save(tmp_path / "same.npy", pixels.numpy())
    same = bench("eval", tmp_path / "same.npy", *MEASURE, "--eval-samples", COUNT, "--format", "json")
    found, expected = json.loads(out), json.loads(same[1])
    assert code == 0
    assert found["metrics"]["fid"]["value"] == expected["metrics"]["fid"]["value"] > 0
    assert found["digest"] == expected["digest"]


def test_an_array_of_samples_is_as_guided_diffusion_writes_it(bench, tmp_path, pixels):
    bench.ok("sample", "teacher:edm-digits", "-n", COUNT, "-o", tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        assert file.files == ["arr_0"]
        assert np.array_equal(file["arr_0"], pixels.permute(0, 2, 3, 1).numpy())
    bench.ok("sample", "teacher:edm-digits", "-n", 3, "--seed", 7, "-o", tmp_path / "s.zip")
    with zipfile.ZipFile(tmp_path / "s.zip") as file:
        assert file.namelist() == ["00000007.png", "00000008.png", "00000009.png"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("s.jpg", "images are not written as .jpg"),
        ("s.JPEG", "images are not written as .JPEG"),
        ("s.pdf", "images are not written as .pdf"),
        ("s.safetensors", "images are not written as .safetensors"),
        ("s.png", "is a folder, expected a file"),
        ("s.npz", "is a folder, expected a file"),
        ("file", "is a file, expected a folder"),
        ("full", "holds other files; give another, or remove it"),
    ],
)
def test_samples_never_mix_with_others_nor_lie_in_a_format_that_changes_them(
    bench, tmp_path, monkeypatch, name, complaint
):
    (tmp_path / "full/below").mkdir(parents=True)
    (tmp_path / "s.png").mkdir()
    (tmp_path / "s.npz").mkdir()
    (tmp_path / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "full/below/another.png").write_bytes(b"")
    monkeypatch.setattr(
        "bench.evaluation.sampling.sample_images", lambda *_: pytest.fail("images were made")
    )
    code, _, err = bench("sample", "teacher:edm-digits", "-n", 2, "-o", tmp_path / name)
    assert code == 2
    assert complaint in err
    assert sorted(p for p in tmp_path.rglob("*") if "full" not in p.parts) == [
        p for p in before if "full" not in p.parts
    ]


def test_a_folder_with_nothing_but_litter_is_empty(bench, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/.DS_Store").write_text("left")
    bench.ok("sample", "teacher:edm-digits", "-n", 2, "-o", tmp_path / "s")
    assert len(list((tmp_path / "s").glob("*.png"))) == 2


def test_a_data_set_is_measured_by_its_name(bench):
    code, out, _ = bench("eval", "digits", *MEASURE, "--eval-samples", 1797, "--format", "json")
    content = json.loads(out)
    assert code == 0
    assert content["metrics"]["fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert content["nfe"] is None


ARRAYS = {
    "channels last": (np.zeros((30, 8, 8, 1), np.uint8), None),
    "channels first": (np.zeros((30, 1, 8, 8), np.uint8), None),
    "no channels": (np.zeros((30, 8, 8), np.uint8), None),
    "floats": (
        np.zeros((30, 8, 8, 1), np.float32),
        r"is float32 \(30, 8, 8, 1\), expected square images",
    ),
    "not square": (np.zeros((30, 8, 9, 1), np.uint8), "expected square images of 1 or 3 channels"),
    "two channels": (np.zeros((30, 8, 8, 2), np.uint8), "expected square images of 1 or 3 channels"),
    "none": (np.zeros((0, 8, 8, 1), np.uint8), "expected square images of 1 or 3 channels|is empty"),
    "a vector": (np.zeros(30, np.uint8), "expected square images of 1 or 3 channels"),
}


@pytest.mark.parametrize("form", ["npy", "pt"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_is_read_if_it_can_be_read_in_one_way(bench, tmp_path, kind, form):
    array, complaint = ARRAYS[kind]
    file = tmp_path / f"a.{form}"
    np.save(file, array) if form == "npy" else torch.save(torch.from_numpy(array), file)
    if complaint is None:
        assert find_dataset(str(file))().image_spec.shape == (1, 8, 8)
    else:
        with pytest.raises(Exception, match=complaint) as refused:
            find_dataset(str(file))()
        assert "\n" not in str(refused.value)


NPZ = {
    "floats": ({"arr_0": np.zeros((30, 8, 8, 1), np.float32)}, r"arr_0 is float32 \(30, 8, 8, 1\)"),
    "channels first": ({"arr_0": np.zeros((30, 1, 8, 8), np.uint8)}, r"arr_0 is uint8 \(30, 1, 8, 8\)"),
    "another name": (
        {"samples": np.zeros((30, 8, 8, 1), np.uint8)},
        "it holds 'samples', expected arr_0",
    ),
    "statistics": ({"mu": np.zeros(2), "sigma": np.eye(2)}, "statistics of images, which are a --refer"),
}


@pytest.mark.parametrize("kind", NPZ)
def test_an_npz_that_holds_no_images_is_not_called_statistics(bench, tmp_path, kind):
    arrays, complaint = NPZ[kind]
    np.savez(tmp_path / "s.npz", **arrays)
    code, _, err = bench("eval", tmp_path / "s.npz", *MEASURE)
    assert code == 2 and "s.npz' holds no images that this suite reads: " in err
    assert re.search(complaint, err) and "save them as uint8 (N, R, R, 3)" in err
    assert "bench stats" not in err


def test_an_npz_that_is_no_reference_says_so(bench, tmp_path):
    np.savez(tmp_path / "s.npz", **NPZ["floats"][0])
    code, _, err = bench(
        "eval", "digits", *MEASURE[:2], "--eval-samples", 99, "--reference", tmp_path / "s.npz"
    )
    assert code == 2 and "s.npz' holds no statistics that this suite reads: arr_0 is float32" in err


@pytest.mark.parametrize("cut", [3, 9, 20, 60, 100])
def test_a_damaged_array_is_refused_in_a_sentence(tmp_path, cut):
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8, 1), np.uint8))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[cut : cut + 12] = b"{[(" * 4
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UsageError, match=r"is no sound|is no data set") as refused:
        find_dataset(str(tmp_path / "a.npy"))()
    assert "\n" not in str(refused.value)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(Exception, match="is no sound"):
        find_dataset(str(tmp_path / "a.npy"))()
