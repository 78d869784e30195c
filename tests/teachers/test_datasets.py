"""Data sets: every reader against files of the true format, EDM's rules for order, labels and options, and hostile files."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import registry
from bench.errors import UsageError
from bench.files.tensors import load_tensors
from bench.plugin import ImageSpec
from bench.plugin.dataset import ContentDigest, InMemory, Mirrored, Subset, open_dataset, prepared
from bench.registry import load_plugin
from evals.protocols import DIGITS_5K

COLOUR = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


def chw(images):
    images = images[..., None] if images.ndim == 3 else images
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=0)
    return file.getvalue()


def names(count):
    return [f"{i // 1000:05d}/img{i:08d}.png" for i in range(count)]


def edm_zip(path, images, labels=None, extra=None):
    """As EDM's dataset_tool writes it: stored PNG files, then dataset.json. Entries are put in from the last to the first."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, image in reversed(list(zip(names(len(images)), images, strict=True))):
            file.writestr(name, png(image))
        for name, content in (extra or {}).items():
            file.writestr(name, content)
        pairs = labels and [list(pair) for pair in zip(names(len(images)), labels, strict=True)]
        file.writestr("dataset.json", json.dumps({"labels": pairs}))
    return path


def unzipped(archive):
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


def python2_batch(pixels, classes, module="numpy.core.multiarray", dtype=b"u1"):
    """A batch as Python 2's cPickle wrote it: protocol 2, with its 8-bit strings."""

    def string(text):
        return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text

    rows = pixels.reshape(len(pixels), math.prod(pixels.shape[1:]))
    array = b"c" + module.encode() + b"\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07"
    array += b"(K\x01M" + struct.pack("<H", len(rows)) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
    array += (
        b"cnumpy\ndtype\nq\x08" + string(dtype) + b"K\x00K\x01\x87Rq\x09(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array += b"\x89" + string(rows.tobytes()) + b"tb"
    stream = b"\x80\x02}q\x01(" + string(b"batch_label") + string(b"training batch 1 of 5")
    stream += string(b"labels") + b"]q\x02(" + b"".join(b"K" + bytes([c]) for c in classes) + b"e"
    stream += string(b"data") + array
    stream += string(b"filenames") + b"]q\x0a(" + b"".join(string(b"camion_s_%06d.png" % i) for i in range(len(rows))) + b"e"
    return stream + b"u."


def python3_batch(pixels, classes):
    return pickle.dumps({"data": pixels.reshape(len(pixels), -1), "labels": list(classes)}, protocol=4)


def tar_gz(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def cifar_tar(path, pixels, classes, write=python2_batch, **changes):
    """The true layout with a few images a batch; the batches lie in the tar in another order than theirs."""
    parts = zip(np.array_split(pixels, 5), np.array_split(classes, 5), strict=True)
    batches = {f"data_batch_{i}": write(p, c.tolist()) for i, (p, c) in enumerate(parts, 1)}
    test = write(pixels[::-1].copy(), classes[::-1].tolist())
    members = {"readme.html": b"<html>", **dict(reversed(batches.items())), "test_batch": test, "batches.meta": b"\x80\x02}."}
    return tar_gz(path, members | changes)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files(folder, pixels, classes, *, zipped=True):
    folder.mkdir(exist_ok=True)
    for name, array in (("train-images-idx3-ubyte", pixels), ("train-labels-idx1-ubyte", classes)):
        content = idx(array.astype(np.uint8))
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return folder


def read_all(dataset, size=5):
    batches = list(dataset.batches(size))
    labels = [b for _, b in batches]
    return torch.cat([a for a, _ in batches]), None if labels[0] is None else torch.cat(labels)


# -- readers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["zip", "folder"])
@pytest.mark.parametrize(
    ("labels", "expected", "dim"),
    [
        ([7, 0, 3] * 4, torch.tensor([7, 0, 3] * 4), 8),
        ([[0.5, 1.0], [2, -1.5]] * 6, torch.tensor([[0.5, 1.0], [2, -1.5]] * 6), 2),
        (None, None, 0),
    ],
)
def test_an_edm_archive_is_read_in_the_order_of_its_names_with_its_labels(tmp_path, layout, labels, expected, dim):
    path = edm_zip(tmp_path / "set.zip", COLOUR, labels)
    dataset = open_dataset(str(path if layout == "zip" else unzipped(path)))
    images, found = read_all(dataset)
    assert torch.equal(images, chw(COLOUR))
    assert images.dtype == torch.uint8
    assert dataset.image_spec == ImageSpec(3, 32, dim)
    if expected is None:
        assert found is None
    else:
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    some, few = dataset.read([11, 0, 0, 4])
    assert torch.equal(some, chw(COLOUR[[11, 0, 0, 4]]))
    assert few is None or torch.equal(few, expected[[11, 0, 0, 4]])


def test_a_folder_of_pictures_has_no_labels_whatever_its_folders_are_called(tmp_path):
    (tmp_path / "set" / "cats").mkdir(parents=True)
    Image.fromarray(COLOUR[0, :, :, 0]).save(tmp_path / "set" / "b.png")
    Image.fromarray(COLOUR[1, :, :, 0]).save(tmp_path / "set" / "cats" / "a.bmp")
    Image.fromarray(COLOUR[2, :, :, 0]).save(tmp_path / "set" / "B.PNG")
    (tmp_path / "set" / "notes.txt").write_text("not an image")
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "set" / "pipe.png")
    dataset = open_dataset("files", tmp_path / "set")
    images, labels = read_all(dataset)
    assert torch.equal(images, chw(COLOUR[[2, 0, 1], :, :, 0]))  # upper case sorts first, and '/' after
    assert labels is None
    assert dataset.image_spec == ImageSpec(1, 32)


@pytest.mark.parametrize("write", [python2_batch, python3_batch])
def test_the_cifar_archive_is_read_in_the_order_of_its_batches(tmp_path, write):
    pixels, classes = chw(COLOUR).numpy(), np.array([9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2])
    dataset = open_dataset("cifar10", cifar_tar(tmp_path / "cifar-10-python.tar.gz", pixels, classes, write))
    images, labels = read_all(dataset)
    assert torch.equal(images, chw(COLOUR))
    assert torch.equal(labels, torch.from_numpy(classes))
    assert dataset.image_spec == ImageSpec(3, 32, 10)


def test_the_cifar_test_split_is_the_test_batch(tmp_path):
    from teachers.datasets.cifar import cifar_archive

    pixels, classes = chw(COLOUR).numpy(), np.arange(12) % 10
    dataset = cifar_archive(cifar_tar(tmp_path / "c.tar.gz", pixels, classes), labels=False, split="test")
    images, labels = read_all(dataset)
    assert torch.equal(images, chw(COLOUR).flip(0))
    assert labels is None


def test_numpys_newer_name_for_its_pickles_is_known(tmp_path):
    def write(pixels, classes):
        return python2_batch(pixels, classes, module="numpy._core.multiarray")

    pixels, classes = chw(COLOUR).numpy(), np.arange(12) % 10
    assert len(open_dataset(str(cifar_tar(tmp_path / "c.tar.gz", pixels, classes, write)))) == 12


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_as_grey_images_with_classes(tmp_path, zipped):
    grey = COLOUR[:10, :28, :28, 0]
    folder = idx_files(tmp_path / "fashion", grey, np.arange(10)[::-1], zipped=zipped)
    for dataset in (open_dataset("fashion-mnist", folder), open_dataset(str(folder))):
        images, labels = read_all(dataset)
        assert torch.equal(images, chw(grey))
        assert labels.tolist() == [*range(10)][::-1]
        assert dataset.image_spec == ImageSpec(1, 28, 10)


def test_digits_and_analytic_sets_are_read_by_index_and_take_no_path(tmp_path):
    for name, images in (("digits", ImageSpec(1, 8, 10)), ("gaussian", ImageSpec(1, 8)), ("gmm-ring", ImageSpec(2, 1, 8))):
        dataset = open_dataset(name)
        assert dataset.image_spec == images
        whole, labels = read_all(dataset, 700)
        assert len(whole) == len(dataset)
        some, few = dataset.read([3, 1, 3])
        assert torch.equal(some, whole[[3, 1, 3]])
        assert (few is None) == (labels is None) == (images.label_dim == 0)
        assert few is None or torch.equal(few, labels[[3, 1, 3]])
        with pytest.raises(UsageError, match=f"'{name}' is made and not read from a file"):
            open_dataset(name, tmp_path)


# -- EDM's options -------------------------------------------------------------------------------------------------------


def arange(count, vectors=False):
    pixels = torch.arange(count * 6).reshape(count, 1, 2, 3)[:, :, :, :2].to(torch.uint8)
    return InMemory(pixels, torch.arange(count)[:, None].float() if vectors else torch.arange(count))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), max_size=st.integers(1, 70), seed=st.integers(0, 2**33))
def test_a_subset_is_edms(count, max_size, seed):
    expected = np.arange(count, dtype=np.int64)
    if count > max_size:
        np.random.RandomState(seed % (1 << 31)).shuffle(expected)
        expected = np.sort(expected[:max_size])
    subset = Subset(arange(count), max_size, seed)
    assert len(subset) == len(expected)
    assert subset.read(range(len(subset)))[1].tolist() == expected.tolist()


def test_a_subset_of_known_numbers():
    """Stored from numpy's legacy generator, which will not change."""
    assert Subset(arange(10), 4).read(range(4))[1].tolist() == [2, 4, 8, 9]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(1, 20), vectors=st.booleans())
def test_xflip_appends_the_mirrored_images_with_the_same_labels(data, count, vectors):
    dataset = Mirrored(arange(count, vectors))
    originals, labels = dataset.dataset.read(range(count))
    whole = torch.cat([originals, originals.flip(3)])
    assert len(dataset) == 2 * count
    indices = data.draw(st.lists(st.integers(0, 2 * count - 1), min_size=1, max_size=9))
    images, found = dataset.read(indices)
    assert torch.equal(images, whole[indices])
    assert torch.equal(found, torch.cat([labels, labels])[indices])
    assert torch.equal(read_all(dataset, data.draw(st.integers(1, 50)))[0], whole)


def test_the_subset_is_taken_before_the_mirror():
    both = prepared(arange(10), max_size=4, xflip=True)
    assert read_all(both)[1].tolist() == [2, 4, 8, 9] * 2
    assert both.image_spec == arange(10).image_spec


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 20), size=st.integers(1, 25), change=st.sampled_from(["pixel", "label", "order", "vectors", "none"]))
def test_the_content_digest_knows_every_pixel_label_and_order_but_no_batch_size(count, size, change):
    def digest(dataset, size):
        made = ContentDigest()
        for batch in dataset.batches(size):
            made.update(*batch)
        return made.hexdigest()

    other = arange(count, vectors=change == "vectors")
    match change:
        case "pixel":
            other.pixels[-1, 0, 1, 1] ^= 1
        case "label":
            other.labels[0] += 1
        case "order":
            other = InMemory(other.pixels.flip(0), other.labels.flip(0))
    same = change == "none" or (change == "order" and count == 1)
    assert (digest(arange(count), 7) == digest(other, size)) == same


# -- names and places ----------------------------------------------------------------------------------------------------


def test_an_unlabelled_set_is_read_without_the_classes_that_the_tool_made_of_folders(tmp_path):
    faces = np.zeros((3, 64, 64, 3), np.uint8)
    path = edm_zip(tmp_path / "ffhq-64x64.zip", faces, [0, 1, 2])
    for name in ("ffhq64", "afhqv2-64"):
        dataset = open_dataset(name, path)
        assert dataset.image_spec == ImageSpec(3, 64)
        assert dataset.read([0])[1] is None
    assert open_dataset(str(path)).image_spec == ImageSpec(3, 64, 3)


@pytest.mark.parametrize(
    ("name", "place", "how"),
    [
        ("fashion-mnist", "fashion-mnist", "train-labels-idx1-ubyte.gz"),
        ("ffhq64", "ffhq-64x64.zip", "--resolution=64x64"),
        ("afhqv2-64", "afhqv2-64x64.zip", "--resolution=64x64"),
        ("imagenet64", "imagenet-64x64.zip", "--resolution=64x64 --transform=center-crop"),
    ],
)
def test_a_set_that_cannot_be_downloaded_says_where_to_put_it_and_is_found_there(tmp_path, name, place, how):
    usual = tmp_path / "cache" / "datasets" / place
    with pytest.raises(UsageError) as caught:
        open_dataset(name)
    assert str(usual) in str(caught.value)
    assert how in str(caught.value)
    usual.parent.mkdir(parents=True)
    if name == "fashion-mnist":
        idx_files(usual, COLOUR[:10, :28, :28, 0], np.arange(10))
    else:
        edm_zip(usual, np.zeros((2, 64, 64, 3), np.uint8), [0, 999])
    assert len(open_dataset(name)) in (2, 10)


@pytest.mark.parametrize(
    ("images", "labels", "found"),
    [
        (COLOUR, [9] * 12, None),
        (COLOUR, None, "images 3x32x32 with no labels, expected images 3x32x32 with 10 classes"),
        (COLOUR, [10] * 12, "3x32x32 with 11 classes"),
        (COLOUR[..., 0], [9] * 12, "images 1x32x32"),
        (COLOUR[:, :16, :16], [9] * 12, "images 3x16x16"),
    ],
)
def test_a_known_set_is_checked_against_what_it_declares(tmp_path, images, labels, found):
    path = edm_zip(tmp_path / "cifar10-32x32.zip", images, labels)
    if found is None:
        assert torch.equal(read_all(open_dataset("cifar10", path))[0], chw(images))
    else:
        with pytest.raises(UsageError, match=found):
            open_dataset("cifar10", path)


def test_a_registered_name_comes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    Image.fromarray(COLOUR[0]).save(tmp_path / "digits" / "a.png")
    (tmp_path / "pictures").symlink_to("digits")
    assert len(open_dataset("digits")) == 1797
    assert len(open_dataset("./digits")) == len(open_dataset("pictures")) == 1


def test_a_plugins_data_set_is_given_its_path_and_one_that_lacks_something_is_named(tmp_path):
    code = """
import torch
from bench.plugin import Dataset, ImageSpec, InMemory, register_dataset

@register_dataset("bytes")
class Bytes(InMemory):
    def __init__(self, path=None):
        super().__init__(torch.tensor(list(path.read_bytes()), dtype=torch.uint8).reshape(-1, 1, 1, 1))

@register_dataset("half")
class Half(Dataset):
    image_spec = ImageSpec(1, 1)
    def __len__(self):
        return 1
"""
    (tmp_path / "plugin.py").write_text(code)
    (tmp_path / "file").write_bytes(b"abc")
    load_plugin(tmp_path / "plugin.py")
    assert open_dataset("bytes", tmp_path / "file").read([2, 0])[0].flatten().tolist() == [99, 97]
    with pytest.raises(UsageError, match="Half does not define read"):
        open_dataset("half")


# -- hostile and broken files --------------------------------------------------------------------------------------------


def bomb_png(width, height):
    """A valid header that declares an enormous image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def palette_png():
    file = io.BytesIO()
    Image.fromarray(COLOUR[0]).quantize(4).save(file, "PNG")
    return file.getvalue()


BAD_IMAGES = {
    "truncated": (png(COLOUR[1])[:900], "cannot be read"),
    "empty": (b"", "cannot be read"),
    "text": (b"../../etc/passwd", "cannot be read"),
    "bomb": (bomb_png(60_000, 60_000), "DecompressionBombError"),
    "large": (bomb_png(10_000, 10_000), "DecompressionBombWarning"),
    "other size": (bomb_png(31, 31), "is 3x31x31 and the first one 3x32x32"),
    "not square": (bomb_png(32, 31), "is 3x32x31 and the first one 3x32x32"),
    "grey": (png(COLOUR[1, :, :, 0]), "is 1x32x32 and the first one 3x32x32"),
    "alpha": (png(COLOUR[1][..., [0, 1, 2, 0]]), "has the mode 'RGBA', expected L"),
    "palette": (palette_png(), "has the mode 'P'"),
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
    with pytest.raises(UsageError, match="are 32x31, expected square ones"):
        open_dataset(str(edm_zip(tmp_path / "a.zip", COLOUR[:, :31])))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("a.png", bomb_png(5000, 5000))
    with pytest.raises(UsageError, match="are 5000x5000, expected square ones of at most 2048"):
        open_dataset(str(tmp_path / "b.zip"))


BAD_LABELS = {
    "no json": ("{", "is not of the form"),
    "no labels": ("{}", "is not of the form"),
    "a list": ("[]", "is not of the form"),
    "a number": ('{"labels": 3}', "is not of the form"),
    "triples": ('{"labels": [["a", 1, 2]]}', "is not of the form"),
    "deep": ('{"labels": ' + "[" * 100_000, "is not of the form"),
    "long number": ('{"labels": ' + "9" * 10_000 + "}", "is not of the form"),
    "bytes": (b"\xff\xfe", "is not of the form"),
    "absent": ([[n, 0] for n in [*names(2), "00000/none.png"]], "has labels for 1 images that are not there, .*none.png"),
    "path trick": ([[n, 0] for n in [*names(2), "../../secret.png"]], "images that are not there"),
    "missing": ([[names(2)[0], 0]], "lacks 1 images, such as '00000/img00000001.png'"),
    "none": ([], "lacks 2 images"),
    "twice": ([[n, 0] for n in [*names(2), names(2)[0]]], "3 labels for 2 images"),
    "negative": ([[names(2)[0], 0], [names(2)[1], -1]], "something that is no label .00000/img00000001.png"),
    "huge": ([[n, 10**9] for n in names(2)], "something that is no label"),
    "mixed": ([[names(2)[0], 0], [names(2)[1], [0.5]]], "class from 0 to 99,999 .* vector of 1"),
    "ragged": ([[names(2)[0], [1.0, 2.0]], [names(2)[1], [0.5]]], "vector of 2 .* vector of 1"),
    "empty vectors": ([[n, []] for n in names(2)], "something that is no label"),
    "fractions": ([[n, 0.5] for n in names(2)], "something that is no label"),
    "truth": ([[n, True] for n in names(2)], "something that is no label"),
    "words": ([[n, "cat"] for n in names(2)], "something that is no label"),
    "some null": ([[names(2)[0], 0], [names(2)[1], None]], "something that is no label"),
    "not finite": ([[names(2)[0], [math.nan]], [names(2)[1], [math.inf]]], "something that is no label"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_bad_labels_are_refused_when_the_set_is_opened(tmp_path, kind):
    content, complaint = BAD_LABELS[kind]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name, image in zip(names(2), COLOUR, strict=False):
            file.writestr(name, png(image))
        file.writestr("dataset.json", content if isinstance(content, str | bytes) else json.dumps({"labels": content}))
    with pytest.raises(UsageError, match=complaint) as caught:
        open_dataset(str(tmp_path / "set.zip"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_names_in_a_zip_lead_nowhere(tmp_path):
    """Absolute paths, upward paths and symbolic links are names like any other: nothing is ever unpacked."""
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
    assert torch.equal(dataset.read([0, 1])[0], chw(COLOUR[:2]))
    with pytest.raises(UsageError, match=r"'c.png'.*cannot be read"):
        dataset.read([2])
    assert sorted(tmp_path.rglob("*")) == before


def damaged_zip(path, how):
    edm_zip(path, COLOUR[:3])
    content = bytearray(path.read_bytes())
    match how:
        case "cut":
            del content[len(content) // 2 :]
        case "flipped":
            content[content.index(b"IDAT") + 50] ^= 0xFF
        case "encrypted":
            for position in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
                content[position] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "flipped", "encrypted"])
def test_a_damaged_zip_is_refused(tmp_path, how):
    damaged_zip(tmp_path / "set.zip", how)
    with pytest.raises(UsageError, match="cannot be read"):
        open_dataset(str(tmp_path / "set.zip")).read([0, 1, 2])


def test_a_zip_that_holds_one_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("a.png", png(COLOUR[0]))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.png", png(COLOUR[1]))
    with pytest.raises(UsageError, match="two files of one name"):
        open_dataset(str(tmp_path / "set.zip"))


def test_a_file_in_a_zip_that_unpacks_without_end_is_given_up(tmp_path, monkeypatch):
    import teachers.datasets.images as reader

    monkeypatch.setattr(reader, "IMAGE_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", png(COLOUR[0]))
        file.writestr("b.png", bytes(2**23))
        file.writestr("dataset.json", b" " * 2**23)
    with pytest.raises(UsageError, match=r"'dataset.json'.*more than 1,048,976 bytes"):  # 2^20 and 200 for each image
        open_dataset(str(tmp_path / "set.zip"))
    with pytest.raises(UsageError, match=r"'b.png'.*more than 1,048,576 bytes"):
        reader.ImageFiles(tmp_path / "set.zip", labels=False).read([1])


def test_the_labels_may_be_as_large_as_their_images_are_many(tmp_path, monkeypatch):
    import teachers.datasets.images as reader

    monkeypatch.setattr(reader, "LABELS_BYTES", 0)
    path = edm_zip(tmp_path / "set.zip", COLOUR[:, :1, :1], [999] * 12)
    assert open_dataset(str(path)).image_spec == ImageSpec(3, 1, 1000)
    long = edm_zip(tmp_path / "long.zip", COLOUR[:, :1, :1], [[0.5] * 100] * 12)
    with pytest.raises(UsageError, match=r"'dataset.json'.*more than 2,400 bytes"):
        open_dataset(str(long))


def test_labels_that_are_millions_of_empty_lists_cost_little(tmp_path):
    """12 MB of them in a zip of a few kB; parsed they would be 25 times larger."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", png(COLOUR[0]))
        file.writestr("dataset.json", b"[" + b"[]," * 2**22 + b"[]]")
    with pytest.raises(UsageError, match=r"'dataset.json'.*more than 1,048,776 bytes"), limited_memory(2**25):
        open_dataset(str(tmp_path / "set.zip"))


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_labels_that_exhaust_the_machine_are_one_sentence(tmp_path, monkeypatch, error):
    def loads(text):
        raise error

    path = edm_zip(tmp_path / "set.zip", COLOUR[:2], [0, 1])
    monkeypatch.setattr(json, "loads", loads)
    with pytest.raises(UsageError, match=f"dataset.json of .* is not of the form .*{error.__name__}"):
        open_dataset(str(path))


@contextmanager
def limited_memory(most):
    """Fails if Python has ever more than ``most`` bytes meanwhile."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


GOOD_BATCH = python2_batch(chw(COLOUR).numpy()[:3], [0, 1, 2])
BAD_BATCHES = {
    "code": (pickle.dumps({"data": Evil(), "labels": [0]}, protocol=2), "posix.system"),
    "cut": (GOOD_BATCH[:200], "is not a batch of CIFAR-10"),
    "no dict": (pickle.dumps([1, 2], protocol=2), "expected 'data' of N x 3072 bytes"),
    "no labels": (pickle.dumps({"data": 1}, protocol=2), "expected 'data'"),
    "too few labels": (python2_batch(chw(COLOUR).numpy()[:3], [0, 1]), "2 labels and 9,216 bytes"),
    "high class": (python2_batch(chw(COLOUR).numpy()[:3], [0, 1, 10]), "expected 'data'"),
    "narrow": (python2_batch(chw(COLOUR).numpy()[:3, :1], [0, 1, 2]), "expected 'data'"),
    "other type": (python2_batch(chw(COLOUR).numpy()[:3], [0, 1, 2], dtype=b"i1"), "expected 'data'"),
    "short": (GOOD_BATCH.replace(b"T" + struct.pack("<i", 9216), b"T" + struct.pack("<i", 9000)), "CIFAR-10"),
    "declares much": (GOOD_BATCH.replace(b"T" + struct.pack("<i", 9216), b"T\xff\xff\xff\x7f"), "declares"),
    "empty": (python2_batch(chw(COLOUR).numpy()[:0], []), "0 labels and 0 bytes"),
}


@pytest.mark.parametrize("kind", BAD_BATCHES)
def test_a_bad_batch_is_refused_and_never_executed(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    content, complaint = BAD_BATCHES[kind]
    path = cifar_tar(tmp_path / "c.tar.gz", chw(COLOUR).numpy(), np.arange(12) % 10, data_batch_3=content)
    with pytest.raises(UsageError, match=complaint) as caught:
        open_dataset("cifar10", path)
    assert "data_batch_3" in str(caught.value)
    assert not (tmp_path / "executed").exists()


def raw_tar(path, *blocks):
    path.write_bytes(gzip.compress(b"".join(blocks) + bytes(1024)))
    return path


def tar_header(name, size, kind=tarfile.REGTYPE):
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def test_a_hostile_tar_is_refused_and_its_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(GOOD_BATCH)
    huge = raw_tar(tmp_path / "huge.tar.gz", tar_header("data_batch_1", 2**42), bytes(512))
    with pytest.raises(UsageError, match="is not a sound tar"):
        open_dataset(str(huge))
    backwards = raw_tar(tmp_path / "back.tar.gz", tar_header("data_batch_1", -512), bytes(512))
    with pytest.raises(UsageError, match="is not a sound tar"):
        open_dataset(str(backwards))
    twice = raw_tar(tmp_path / "twice.tar.gz", tar_header("a/data_batch_1", 0), tar_header("b/data_batch_1", 0))
    with pytest.raises(UsageError, match="there twice"):
        open_dataset(str(twice))
    many = raw_tar(tmp_path / "many.tar.gz", *(tar_header(f"{i}", 0) for i in range(101)))
    with pytest.raises(UsageError, match="it has more than 100 members, where the genuine one has 9"):
        open_dataset(str(many))
    link = tarfile.TarInfo("data_batch_1")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
    with pytest.raises(UsageError, match="lacks data_batch_1, data_batch_2"):
        open_dataset(str(raw_tar(tmp_path / "link.tar.gz", link.tobuf(tarfile.GNU_FORMAT))))


def test_a_gzip_that_is_cut_damaged_or_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    import teachers.datasets.cifar as reader

    path = cifar_tar(tmp_path / "c.tar.gz", chw(COLOUR).numpy(), np.arange(12) % 10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="cannot be read"):
        open_dataset(str(path))
    path.write_bytes(content[:40] + bytes(40) + content[80:])
    with pytest.raises(UsageError, match=r"cannot be read|is not a sound tar"):
        open_dataset(str(path))
    monkeypatch.setattr(reader, "BYTES", 2**20)
    path.write_bytes(gzip.compress(bytes(2**23)))
    with pytest.raises(UsageError, match="more than 1,048,576 bytes"):
        open_dataset(str(path))


def test_idx_headers_are_checked_against_the_files_true_length(tmp_path):
    grey = COLOUR[:4, :28, :28, 0]
    image_file, label_file = (tmp_path / "f" / f"train-{n}-ubyte.gz" for n in ("images-idx3", "labels-idx1"))

    def refused(match, pixels=grey, classes=(0, 1, 2, 3), images=None):
        idx_files(tmp_path / "f", pixels, np.array(classes))
        if images is not None:
            image_file.write_bytes(gzip.compress(images))
        with pytest.raises(UsageError, match=match):
            open_dataset(str(tmp_path / "f"))

    declared = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)
    refused("declares 4294967295 x 4294967295 x 4294967295 bytes, and has 3", images=declared + b"abc")
    refused("declares 4 x 28 x 28 bytes, and has 3,135", images=idx(grey)[:-1])
    refused("declares 4 x 28 x 28 bytes, and has 3,137", images=idx(grey) + b"x")
    refused("begins with 00000d03, expected 00000803", images=b"\0\0\x0d\x03" + idx(grey)[4:])
    refused("begins with nothing", images=b"")
    refused("begins with 000008", images=b"\0\0\x08")
    refused("expected square ones", pixels=grey[:, :27])
    refused("declares 0 x 28 x 28 bytes, and has 0, expected as many and some", pixels=grey[:0], classes=())
    refused("4 images and 3 labels", classes=(0, 1, 2))
    label_file.unlink()
    with pytest.raises(UsageError, match=r"train-labels-idx1-ubyte.gz' cannot be read"):
        open_dataset(str(tmp_path / "f"))


def test_idx_files_are_held_once_and_are_not_larger_than_the_largest_of_them(tmp_path):
    pixels = np.zeros((20_000, 28, 28), np.uint8)
    folder = idx_files(tmp_path / "f", pixels, np.zeros(20_000))
    with limited_memory(1.5 * pixels.nbytes):
        assert len(open_dataset(str(folder))) == 20_000
    for name, limit, most in (("labels-idx1", 2**20, "1,048,576"), ("images-idx3", 2**27, "134,217,728")):
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(bytes(limit + 1), 1))
        with pytest.raises(UsageError, match=f"{name}.*more than {most} bytes"):
            open_dataset(str(folder))


def test_what_is_no_data_set_at_all_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("words")
    os.mkfifo(tmp_path / "pipe")
    with zipfile.ZipFile("none.zip", "w"):
        pass
    for name, complaint in {
        "./nowhere.zip": "'nowhere.zip' does not exist; give a file or folder",
        "./pipe": "'pipe' does not exist",
        "empty": "there are no images in 'empty'",
        "none.zip": "there are no images",
        "text.txt": "is no data set that this suite reads; expected an EDM zip",
        "edm-digits": "'edm-digits' is a teacher; its data set is 'digits'",
        "digit": "unknown dataset 'digit'; did you mean 'digits'",
        "files": "give its path",
    }.items():
        with pytest.raises(UsageError, match=complaint):
            open_dataset(name)


# -- bench stats ---------------------------------------------------------------------------------------------------------


def test_the_statistics_of_the_digits_are_the_shipped_ones(bench, tmp_path):
    code, out, err = bench("stats", "digits", "-o", str(tmp_path / "made.safetensors"))
    assert code == 0, err
    made, meta = load_tensors(tmp_path / "made.safetensors")
    shipped, known = load_tensors(DIGITS_5K.references["digits"][0])
    assert made.keys() == shipped.keys()
    for name, tensor in shipped.items():
        torch.testing.assert_close(made[name], tensor, rtol=1e-4, atol=1e-5)  # to the bit on the machine that made them
    for fact in ("dataset", "images", "extractors", "shape"):
        assert meta[fact] == known[fact]
    assert meta["made_by"] == "bench stats digits"
    assert meta["protocol"] == "digits-5k"
    assert "1,797 images of digits, moments.digits.pool, digits-5k" in out


def test_the_statistics_of_a_zip_are_those_of_its_pixels_and_say_how_they_were_made(bench, tmp_path):
    path = edm_zip(tmp_path / "my set.zip", COLOUR[:, :4, :4], [0, 1] * 6)
    file = tmp_path / "r.safetensors"
    code, _, err = bench("stats", str(path), "--protocol", "pixels-5k", "--xflip", "--max-size", "7", "-o", str(file))
    assert code == 0, err
    tensors, meta = load_tensors(file)
    chosen = np.arange(12)
    np.random.RandomState(0).shuffle(chosen)
    kept = chw(COLOUR[np.sort(chosen[:7]), :4, :4]).numpy() / 127.5 - 1
    x = np.concatenate([kept, kept[..., ::-1]]).reshape(14, -1)
    np.testing.assert_allclose(tensors["moments.pixels.pool.mu"], x.mean(0), atol=1e-6)
    np.testing.assert_allclose(tensors["moments.pixels.pool.sigma"], np.cov(x.T), atol=1e-6)
    assert meta["made_by"] == "bench stats 'my set.zip' --protocol pixels-5k --xflip --max-size 7"
    assert (meta["dataset"], meta["images"], meta["xflip"], meta["max_size"]) == ("my set.zip", 14, True, 7)
    assert str(tmp_path) not in json.dumps(meta)
    digest = ContentDigest()
    digest.update(*prepared(open_dataset(str(path)), max_size=7, xflip=True).read(range(14)))
    assert meta["dataset_digest"] == digest.hexdigest()


def test_a_named_set_is_measured_from_a_path(bench, tmp_path):
    path = edm_zip(tmp_path / "cifar.zip", COLOUR, [9] * 12)
    file = tmp_path / "r.safetensors"
    code, _, err = bench("stats", "cifar10", "--path", str(path), "--protocol", "pixels-5k", "-o", str(file))
    assert code == 0, err
    meta = load_tensors(file)[1]
    assert meta["made_by"] == "bench stats cifar10 --path cifar.zip --protocol pixels-5k"
    assert meta["dataset"] == "cifar10"


def test_a_metric_that_the_reference_lacks_is_measured_on_the_set_as_it_was_prepared(bench, tmp_path):
    """A protocol with a reference of mirrored digits, from which the statistics of FID are then taken out."""
    from bench.evaluation.evaluator import Evaluator
    from bench.evaluation.plan import plan_evaluation, spec_of
    from bench.files.tensors import save_tensors, tensors_digest
    from bench.runs.recipe import EvaluationOptions

    file = tmp_path / "r.safetensors"
    assert bench("stats", "digits", "--xflip", "--max-size", "300", "-o", str(file))[0] == 0
    tensors, meta = load_tensors(file)
    nothing = {"bank.other.pool.features": torch.zeros(1, 1)}
    save_tensors(file, nothing, meta | {"tensors_sha256": tensors_digest(nothing)})
    measuring = plan_evaluation(
        EvaluationOptions(eval=["fid"], eval_samples=100, reference=str(file)), spec_of(registry.teachers.get("edm-digits"))
    )
    found = Evaluator(measuring, torch.device("cpu")).references.prepared["fid"]
    assert found["count"] == 600
    torch.testing.assert_close(found["mu"], tensors["moments.digits.pool.mu"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["edm-digits"], "'edm-digits' is a teacher; its data set is 'digits'"),
        (["digitz"], "unknown dataset 'digitz'; did you mean 'digits'?"),
        (["{zip}"], "no teacher was trained on it; choose one with --protocol ("),
        (["{zip}", "--protocol", "digits-5k"], "takes 1x8x8 images, those of"),
        (["{zip}", "--protocol", "pixels-5"], "unknown protocol 'pixels-5'; did you mean 'pixels-5k'?"),
        (["{zip}", "--protocol", "pixels-5k", "--max-size", "1"], "'fid' needs at least 2 images"),
        (["{zip}", "--protocol", "logits-10"], "none of the metrics is of logits-10 compares with real images"),
        (["{zip}", "--protocol", "pixels-5k", "-o", "{zip}/x"], "cannot write to the folder"),
        (["cifar10", "--path", "{zip}", "--protocol", "pixels-5k"], "expected images 3x32x32 with 10 classes"),
        (["digits", "--path", "{zip}"], "'digits' is made and not read from a file"),
        (["split"], "its teachers use several protocols, digits-5k, pixels-5k"),
    ],
)
def test_statistics_that_cannot_be_made_give_one_sentence_and_no_file(bench, tmp_path, arguments, sentence):
    (tmp_path / "plugin.py").write_text(
        """
from bench.plugin import FeatureExtractor, Protocol, InMemory, register_dataset, register_extractor, register_protocol
from bench.plugin import register_teacher
from teachers.analytic import Gaussian
import torch

@register_extractor("logits")
class Logits(FeatureExtractor):
    image_spec, features = None, ("logits",)
    def __call__(self, images):
        raise AssertionError
    def digest(self):
        return "none"

register_protocol(Protocol("logits", 10, ("logits",), ("is",)))

@register_dataset("split")
class Split(InMemory):
    def __init__(self, path=None):
        super().__init__(torch.zeros(9, 1, 8, 8, dtype=torch.uint8))

for protocol in ("digits-5k", "pixels-5k"):
    register_teacher(protocol)(type("T", (Gaussian,), {"dataset": "split", "protocol": protocol}))
"""
    )
    path = edm_zip(tmp_path / "set.zip", COLOUR, [0] * 12)
    made = tmp_path / "r.safetensors"
    given_ = [a.format(zip=path) for a in arguments]
    code, out, err = bench(
        "stats", *given_, *([] if "-o" in given_ else ["-o", str(made)]), "--plugin", str(tmp_path / "plugin.py")
    )
    assert sentence in err
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert not made.exists()
