"""Data sets that are broken or hostile: refused in one sentence, without running, following or
unpacking what they hold.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import teachers.datasets.cifar
import teachers.datasets.images
from bench.errors import UsageError
from bench.plugin import ImageSpec
from bench.plugin.dataset import open_dataset
from tests.helpers.dataset_files import (
    CLASSES,
    COLOUR,
    channels_first,
    cifar_tar,
    edm_names,
    edm_zip,
    idx,
    idx_files,
    png,
    python2_batch,
    unzipped,
    zip_of,
)
from tests.helpers.memory import memory_below


def assert_refused(path: Path | str, because: str, name: str | None = None) -> str:
    """Opening it, by itself or as the data set ``name``, ends in one sentence of sane length with
    this in it; the sentence.
    """
    with pytest.raises(UsageError, match=because) as caught:
        open_dataset(name, path) if name else open_dataset(str(path))
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


# -- images ----------------------------------------------------------------------------------------


def bomb_png(width, height):
    """A valid header that declares an enormous image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


BAD_IMAGES = {
    "truncated": (png(COLOUR[1])[:900], "cannot be read"),
    "empty": (b"", "cannot be read"),
    "text": (b"../../etc/passwd", "cannot be read"),
    "bomb": (bomb_png(60_000, 60_000), "DecompressionBombError"),
    "large": (bomb_png(10_000, 10_000), "DecompressionBombWarning"),
    "other size": (bomb_png(31, 31), "is 3x31x31 and the first one 3x32x32"),
    "not square": (bomb_png(32, 31), "is 3x32x31 and the first one 3x32x32"),
    "grey": (png(COLOUR[1, :, :, 0]), "is 1x32x32 and the first one 3x32x32"),
    "alpha": (png(COLOUR[1][..., [0, 1, 2, 0]]), "has transparent pixels, whose colour depends"),
    "sixteen bits": (png(COLOUR[1, :, :, 0].astype(np.uint16) * 257), "has Pillow's mode 'I;16'"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n", "cannot be read"),
}


@pytest.mark.parametrize("layout", ["zip", "folder"])
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_named_in_one_sentence_when_it_is_read(tmp_path, kind, layout):
    content, complaint = BAD_IMAGES[kind]
    path = edm_zip(tmp_path / "set.zip", COLOUR[:2], extra={"00001/z.png": content})
    dataset = open_dataset(str(path if layout == "zip" else unzipped(path)))
    assert len(dataset.read([0, 1])[0]) == 2
    with pytest.raises(UsageError, match=complaint) as caught:
        dataset.read([0, 1, 2])
    assert "00001/z.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_first_image_must_be_square_and_of_sane_size(tmp_path):
    assert_refused(edm_zip(tmp_path / "a.zip", COLOUR[:, :31]), "are 32x31, expected square ones")
    large = zip_of(tmp_path / "b.zip", {"a.png": bomb_png(5000, 5000)})
    assert_refused(large, "are 5000x5000, expected square ones of at most 2048")


# -- labels ----------------------------------------------------------------------------------------

FIRST, SECOND = TWO = edm_names(2)
BAD_LABELS = {
    "no json": ("{", "is not of the form"),
    "no labels": ("{}", "is not of the form"),
    "a list": ("[]", "is not of the form"),
    "a number": ('{"labels": 3}', "is not of the form"),
    "triples": ('{"labels": [["a", 1, 2]]}', "is not of the form"),
    "deep": ('{"labels": ' + "[" * 100_000, "is not of the form"),
    "long number": ('{"labels": ' + "9" * 10_000 + "}", "is not of the form"),
    "bytes": (b"\xff\xfe", "is not of the form"),
    "absent": (
        [[n, 0] for n in [*TWO, "00000/none.png"]],
        "has labels for 1 images that are not there, .*none.png",
    ),
    "path trick": ([[n, 0] for n in [*TWO, "../../secret.png"]], "images that are not there"),
    "missing": ([[FIRST, 0]], "lacks 1 images, such as '00000/img00000001.png'"),
    "none": ([], "lacks 2 images"),
    "twice": ([[n, 0] for n in [*TWO, FIRST]], "3 labels for 2 images"),
    "negative": ([[FIRST, 0], [SECOND, -1]], "something that is no label .00000/img00000001.png"),
    "huge": ([[n, 10**9] for n in TWO], "something that is no label"),
    "mixed": ([[FIRST, 0], [SECOND, [0.5]]], "class from 0 to 99,999 .* vector of 1"),
    "ragged": ([[FIRST, [1.0, 2.0]], [SECOND, [0.5]]], "vector of 2 .* vector of 1"),
    "empty vectors": ([[n, []] for n in TWO], "something that is no label"),
    "fractions": ([[n, 0.5] for n in TWO], "something that is no label"),
    "truth": ([[n, True] for n in TWO], "something that is no label"),
    "words": ([[n, "cat"] for n in TWO], "something that is no label"),
    "some null": ([[FIRST, 0], [SECOND, None]], "something that is no label"),
    "not finite": ([[FIRST, [math.nan]], [SECOND, [math.inf]]], "something that is no label"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_bad_labels_are_refused_when_the_set_is_opened(tmp_path, kind):
    content, complaint = BAD_LABELS[kind]
    labels = content if isinstance(content, str | bytes) else json.dumps({"labels": content})
    pictures = {name: png(image) for name, image in zip(TWO, COLOUR, strict=False)}
    assert_refused(zip_of(tmp_path / "set.zip", pictures | {"dataset.json": labels}), complaint)


def test_the_labels_may_be_as_large_as_their_images_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(teachers.datasets.images, "LABELS_BYTES", 0)
    path = edm_zip(tmp_path / "set.zip", COLOUR[:, :1, :1], [999] * 12)
    assert open_dataset(str(path)).image_spec == ImageSpec(3, 1, 1000)
    long = edm_zip(tmp_path / "long.zip", COLOUR[:, :1, :1], [[0.5] * 100] * 12)
    assert_refused(long, r"'dataset.json'.*more than 2,400 bytes")


def test_labels_that_are_millions_of_empty_lists_cost_little(tmp_path):
    """12 MB of them in a zip of a few kB; parsed they would be 25 times larger."""
    members = {"a.png": png(COLOUR[0]), "dataset.json": b"[" + b"[]," * 2**22 + b"[]]"}
    path = zip_of(tmp_path / "set.zip", members, deflated=True)
    with memory_below(2**25):
        assert_refused(path, r"'dataset.json'.*more than 1,048,776 bytes")


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_labels_that_exhaust_the_machine_are_one_sentence(tmp_path, monkeypatch, error):
    def loads(text):
        raise error

    path = edm_zip(tmp_path / "set.zip", COLOUR[:2], [0, 1])
    monkeypatch.setattr(json, "loads", loads)
    assert_refused(path, f"dataset.json of .* is not of the form .*{error.__name__}")


# -- zips ------------------------------------------------------------------------------------------


def test_names_in_a_zip_lead_nowhere(tmp_path):
    """Absolute paths, upward paths and symbolic links are names like any other: nothing is ever
    unpacked.
    """
    Image.fromarray(COLOUR[5]).save(tmp_path / "secret.png")
    link = zipfile.ZipInfo("c.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("../secret.png", png(COLOUR[0]))
        file.writestr("/a.png", png(COLOUR[1]))
        file.writestr("folder.png/", b"")
        file.writestr(link, str(tmp_path / "secret.png"))
    before = sorted(tmp_path.rglob("*"))
    dataset = open_dataset(str(tmp_path / "set.zip"))
    assert torch.equal(dataset.read([0, 1])[0], channels_first(COLOUR[:2]))
    with pytest.raises(UsageError, match=r"'c.png'.*cannot be read"):
        dataset.read([2])
    assert sorted(tmp_path.rglob("*")) == before


def cut(content):
    del content[len(content) // 2 :]


def flipped(content):
    content[content.index(b"IDAT") + 50] ^= 0xFF


def encrypted(content):
    for position in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[position] |= 1


@pytest.mark.parametrize("damage", [cut, flipped, encrypted])
def test_a_damaged_zip_is_refused(tmp_path, damage):
    path = edm_zip(tmp_path / "set.zip", COLOUR[:3])
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        open_dataset(str(path)).read([0, 1, 2])


def test_a_zip_that_holds_one_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("a.png", png(COLOUR[0]))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.png", png(COLOUR[1]))
    assert_refused(tmp_path / "set.zip", "two files of one name")


def test_a_file_in_a_zip_that_unpacks_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(teachers.datasets.images, "IMAGE_BYTES", 2**20)
    members = {"a.png": png(COLOUR[0]), "b.png": bytes(2**23), "dataset.json": b" " * 2**23}
    path = zip_of(tmp_path / "set.zip", members, deflated=True)
    assert_refused(path, r"'dataset.json'.*more than 1,048,976 bytes")  # 2^20 and 200 for each image
    with pytest.raises(UsageError, match=r"'b.png'.*more than 1,048,576 bytes"):
        teachers.datasets.images.ImageFiles(path, labels=False).read([1])


# -- CIFAR-10 --------------------------------------------------------------------------------------


class Evil:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return os.system, ("touch executed",)


THREE = channels_first(COLOUR).numpy()[:3]
GOOD_BATCH = python2_batch(THREE, [0, 1, 2])
LENGTH = b"T" + struct.pack("<i", 9216)
BAD_BATCHES = {
    "code": (pickle.dumps({"data": Evil(), "labels": [0]}, protocol=2), "posix.system"),
    "cut": (GOOD_BATCH[:200], "is not a batch of CIFAR-10"),
    "no dict": (pickle.dumps([1, 2], protocol=2), "expected 'data' of N x 3072 bytes"),
    "no labels": (pickle.dumps({"data": 1}, protocol=2), "expected 'data'"),
    "too few labels": (python2_batch(THREE, [0, 1]), "2 labels and 9,216 bytes"),
    "high class": (python2_batch(THREE, [0, 1, 10]), "expected 'data'"),
    "narrow": (python2_batch(THREE[:, :1], [0, 1, 2]), "expected 'data'"),
    "other type": (python2_batch(THREE, [0, 1, 2], dtype=b"i1"), "expected 'data'"),
    "short": (GOOD_BATCH.replace(LENGTH, b"T" + struct.pack("<i", 9000)), "CIFAR-10"),
    "declares much": (GOOD_BATCH.replace(LENGTH, b"T\xff\xff\xff\x7f"), "declares"),
    "empty": (python2_batch(THREE[:0], []), "0 labels and 0 bytes"),
}


@pytest.mark.parametrize("kind", BAD_BATCHES)
def test_a_bad_batch_is_refused_and_never_executed(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    content, complaint = BAD_BATCHES[kind]
    path = cifar_tar(tmp_path / "c.tar.gz", data_batch_3=content)
    assert "data_batch_3" in assert_refused(path, complaint, "cifar10")
    assert not (tmp_path / "executed").exists()


def tar_header(name, size=0, **fields):
    entry = tarfile.TarInfo(name)
    entry.size = size
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry.tobuf(tarfile.GNU_FORMAT)


BAD_TARS = {
    "in terabytes": (tar_header("data_batch_1", 2**42) + bytes(512), "is not a sound tar"),
    "backwards": (tar_header("data_batch_1", -512) + bytes(512), "is not a sound tar"),
    "one name twice": (tar_header("a/data_batch_1") + tar_header("b/data_batch_1"), "there twice"),
    "101 members": (
        b"".join(tar_header(f"{i}") for i in range(101)),
        "it has more than 100 members, where the genuine one has 9",
    ),
    "a link": (
        tar_header("data_batch_1", type=tarfile.SYMTYPE, linkname="secret"),
        "lacks data_batch_1, data_batch_2",
    ),
}


@pytest.mark.parametrize("kind", BAD_TARS)
def test_a_hostile_tar_is_refused_and_its_links_are_not_followed(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(GOOD_BATCH)
    blocks, complaint = BAD_TARS[kind]
    path = tmp_path / "c.tar.gz"
    path.write_bytes(gzip.compress(blocks + bytes(1024)))
    assert_refused(path, complaint)


BAD_GZIPS = {
    "cut": (lambda whole: whole[: len(whole) // 2], "cannot be read"),
    "damaged": (lambda whole: whole[:40] + bytes(40) + whole[80:], "cannot be read|is not a sound tar"),
    "without end": (lambda whole: gzip.compress(bytes(2**23)), "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("kind", BAD_GZIPS)
def test_a_gzip_that_is_cut_damaged_or_unpacks_without_end_is_refused(tmp_path, monkeypatch, kind):
    damaged, complaint = BAD_GZIPS[kind]
    monkeypatch.setattr(teachers.datasets.cifar, "BYTES", 2**20)
    path = cifar_tar(tmp_path / "c.tar.gz", classes=CLASSES)
    assert len(open_dataset(str(path))) == 12
    path.write_bytes(damaged(path.read_bytes()))
    assert_refused(path, complaint)


# -- idx files -------------------------------------------------------------------------------------

GREY = COLOUR[:4, :28, :28, 0]
ENORMOUS = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abc"
BAD_IDX = {
    "in billions of billions": (
        ENORMOUS,
        4,
        "declares 4294967295 x 4294967295 x 4294967295 bytes, and has 3",
    ),
    "a byte short": (idx(GREY)[:-1], 4, "declares 4 x 28 x 28 bytes, and has 3,135"),
    "a byte long": (idx(GREY) + b"x", 4, "declares 4 x 28 x 28 bytes, and has 3,137"),
    "of another type": (b"\0\0\x0d\x03" + idx(GREY)[4:], 4, "begins with 00000d03, expected 00000803"),
    "of nothing": (b"", 4, "begins with nothing"),
    "of three bytes": (b"\0\0\x08", 4, "begins with 000008"),
    "not square": (idx(GREY[:, :27]), 4, "expected square ones"),
    "no images": (idx(GREY[:0]), 0, "declares 0 x 28 x 28 bytes, and has 0, expected as many and some"),
    "a label too few": (idx(GREY), 3, "4 images and 3 labels"),
    "no labels": (idx(GREY), None, "have no labels beside them, expected 'train-labels-idx1-ubyte' or"),
}


@pytest.mark.parametrize("kind", BAD_IDX)
def test_idx_headers_are_checked_against_the_files_true_length(tmp_path, kind):
    images, labels, complaint = BAD_IDX[kind]
    folder = idx_files(tmp_path / "f", GREY, np.arange(labels or 0))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    if labels is None:
        (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert_refused(folder, complaint)


def test_idx_files_are_held_once_and_are_not_larger_than_the_largest_of_them(tmp_path):
    pixels = np.zeros((20_000, 28, 28), np.uint8)
    folder = idx_files(tmp_path / "f", pixels, np.zeros(20_000))
    with memory_below(1.5 * pixels.nbytes):
        assert len(open_dataset(str(folder))) == 20_000
    for name, limit, most in (
        ("labels-idx1", 2**20, "1,048,576"),
        ("images-idx3", 2**27, "134,217,728"),
    ):
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(bytes(limit + 1), 1))
        assert_refused(folder, f"{name}.*more than {most} bytes")


# -- what is none ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("./nowhere.zip", "'nowhere.zip' does not exist; give a file or folder"),
        ("./pipe", "'pipe' does not exist"),
        ("empty", "there are no images in 'empty'"),
        ("none.zip", "there are no images"),
        ("text.txt", "is no data set that this suite reads; expected an EDM zip"),
        ("edm-digits", "'edm-digits' is a teacher; its data set is 'digits'"),
        ("digit", "unknown dataset 'digit'; did you mean 'digits'"),
        ("files", "give its path"),
    ],
)
def test_what_is_no_data_set_at_all_is_refused(tmp_path, monkeypatch, name, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("words")
    os.mkfifo(tmp_path / "pipe")
    zip_of(tmp_path / "none.zip", {})
    assert_refused(name, complaint)
