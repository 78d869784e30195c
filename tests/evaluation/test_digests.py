"""What a data set is: its images and labels, whatever holds them."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from bench.errors import UsageError
from bench.evaluation import digests
from bench.evaluation.digests import digest_of


@pytest.fixture
def folder(tmp_path):
    """Six grey images with labels."""
    place = tmp_path / "images"
    place.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")
    labels = [[f"{i}.png", i % 3] for i in range(6)]
    (place / "dataset.json").write_text(json.dumps({"labels": labels}))
    return place


def zipped(folder, file, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "w", compression) as archive:
        for path in sorted(folder.iterdir(), reverse=True):
            archive.write(path, path.name)
    return file


def test_containers_names_and_litter_change_nothing(folder, tmp_path):
    digest = digest_of(folder, labels=True)
    others = [
        shutil.copytree(folder, tmp_path / "another name"),
        zipped(folder, tmp_path / "a.zip"),
        zipped(folder, tmp_path / "b.zip", zipfile.ZIP_DEFLATED),
    ]
    renamed = tmp_path / "renamed"
    shutil.copytree(folder, renamed)
    for i in range(6):
        (renamed / f"{i}.png").rename(renamed / f"image{i}.png")
    labels = [[f"image{i}.png", i % 3] for i in range(6)]
    (renamed / "dataset.json").write_text(json.dumps({"labels": labels, "info": "other bytes"}))
    (folder / ".DS_Store").write_text("left")
    os.utime(folder / "0.png", (0, 0))
    for place in (folder, *others, renamed):
        assert digest_of(place, labels=True) == digest, place


@pytest.mark.parametrize("change", ["a pixel", "a label", "an image more", "no labels", "the order"])
def test_what_is_trained_on_or_compared_with_counts(folder, change):
    digest = digest_of(folder, labels=True)
    if change == "a pixel":
        pixels = np.array(Image.open(folder / "3.png"))
        pixels[4, 4] ^= 1
        Image.fromarray(pixels).save(folder / "3.png")
    elif change == "a label":
        text = (folder / "dataset.json").read_text()
        (folder / "dataset.json").write_text(text.replace('["4.png", 1]', '["4.png", 2]'))
    elif change == "an image more":
        shutil.copy(folder / "0.png", folder / "6.png")
        (folder / "dataset.json").unlink()
    elif change == "no labels":
        (folder / "dataset.json").unlink()
    else:
        (folder / "0.png").rename(folder / "9.png")
        (folder / "dataset.json").unlink()
    assert digest_of(folder, labels=True) != digest


def test_labels_that_nobody_asks_for_do_not_count(folder):
    digest = digest_of(folder)
    (folder / "dataset.json").write_text("not labels")
    assert digest_of(folder) == digest
    with pytest.raises(UsageError, match="is not of the form"):
        digest_of(folder, labels=True)


def test_images_are_read_once_for_as_long_as_their_files_stay(folder, monkeypatch):
    read = []
    digest_now = digests.dataset_digest
    monkeypatch.setattr(digests, "dataset_digest", lambda data: read.append(data) or digest_now(data))
    assert digest_of(folder) == digest_of(folder) == digest_of(folder.parent / "images")
    assert len(read) == 1
    os.utime(folder / "0.png", (0, 0))
    digest_of(folder)
    assert len(read) == 2


def test_a_file_of_another_kind_is_its_bytes(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    shutil.copy(tmp_path / "a.bin", tmp_path / "b.txt")
    assert digest_of(tmp_path / "a.bin") == digest_of(tmp_path / "b.txt")


def test_a_damaged_image_is_refused(folder):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"the image '2.png' of .* cannot be read"):
        digest_of(folder)


def test_files_of_one_name_in_other_folders_are_others(folder):
    """Of equal size and time, as an archive leaves them, and in other places afterwards."""
    for name, level in (("a", 0), ("b", 255)):
        (folder / name).mkdir()
        Image.fromarray(np.full((8, 8), level, np.uint8)).save(folder / name / "0.bmp")
        os.utime(folder / name / "0.bmp", (0, 0))
    digest = digest_of(folder)
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    assert digest_of(folder) != digest


def test_a_file_of_statistics_is_its_bytes_also_where_it_holds_some_images(tmp_path):
    """As guided-diffusion's references do."""
    images = np.zeros((4, 8, 8, 3), np.uint8)
    for name, mean in (("one", 0.0), ("two", 5.0)):
        np.savez(tmp_path / f"{name}.npz", images, mu=np.full(3, mean), sigma=np.eye(3))
    np.savez(tmp_path / "samples.npz", images)
    digests = {digest_of(tmp_path / f"{name}.npz") for name in ("one", "two", "samples")}
    assert len(digests) == 3


def test_a_cache_that_cannot_be_written_loses_nothing(folder, tmp_path, monkeypatch):
    digest = digest_of(folder)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file/cache"))
    assert digest_of(folder) == digest
