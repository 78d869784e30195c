"""Data sets: every reader against files of the true format, EDM's rules for order, labels and
options, and ``bench stats``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import registry
from bench.errors import BenchError, UsageError
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import plan_evaluation, spec_of
from bench.files.tensors import load_tensors, save_tensors, tensors_digest
from bench.plugin import ImageSpec
from bench.plugin.dataset import (
    ContentDigest,
    InMemory,
    Mirrored,
    Subset,
    find_dataset,
    open_dataset,
    prepared,
)
from bench.registry import load_plugin
from bench.runs.options import EvaluationOptions
from evals.protocols import DIGITS_5K
from teachers.datasets.cifar import cifar_archive
from teachers.datasets.named import FashionMNIST, FashionMNISTTest
from tests.helpers.dataset_files import (
    COLOUR,
    channels_first,
    cifar_tar,
    edm_zip,
    idx,
    idx_files,
    python2_batch,
    python3_batch,
    unzipped,
)
from tests.helpers.file_server import serving


def read_all(dataset, size=5):
    batches = list(dataset.batches(size))
    labels = [b for _, b in batches]
    return torch.cat([a for a, _ in batches]), None if labels[0] is None else torch.cat(labels)


# -- readers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["zip", "folder"])
@pytest.mark.parametrize(
    ("labels", "expected", "dim"),
    [
        ([7, 0, 3] * 4, torch.tensor([7, 0, 3] * 4), 8),
        ([[0.5, 1.0], [2, -1.5]] * 6, torch.tensor([[0.5, 1.0], [2, -1.5]] * 6), 2),
        (None, None, 0),
    ],
)
def test_an_edm_archive_is_read_in_the_order_of_its_names_with_its_labels(
    tmp_path, layout, labels, expected, dim
):
    path = edm_zip(tmp_path / "set.zip", COLOUR, labels)
    dataset = open_dataset(str(path if layout == "zip" else unzipped(path)))
    images, found = read_all(dataset)
    assert torch.equal(images, channels_first(COLOUR))
    assert images.dtype == torch.uint8
    assert dataset.image_spec == ImageSpec(3, 32, dim)
    if expected is None:
        assert found is None
    else:
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    some, few = dataset.read([11, 0, 0, 4])
    assert torch.equal(some, channels_first(COLOUR[[11, 0, 0, 4]]))
    assert few is None or torch.equal(few, expected[[11, 0, 0, 4]])


def test_a_folder_of_pictures_has_no_labels_whatever_its_folders_are_called(tmp_path):
    (tmp_path / "set" / "cats").mkdir(parents=True)
    Image.fromarray(COLOUR[0, :, :, 0]).save(tmp_path / "set" / "b.png")
    Image.fromarray(COLOUR[1, :, :, 0]).save(tmp_path / "set" / "cats" / "a.bmp")
    Image.fromarray(COLOUR[2, :, :, 0]).save(tmp_path / "set" / "B.PNG")
    (tmp_path / "set" / "notes.txt").write_text("not an image")
    os.mkfifo(tmp_path / "set" / "pipe.png")
    dataset = open_dataset("files", tmp_path / "set")
    images, labels = read_all(dataset)
    assert torch.equal(
        images, channels_first(COLOUR[[2, 0, 1], :, :, 0])
    )  # upper case sorts first, and '/' after
    assert labels is None
    assert dataset.image_spec == ImageSpec(1, 32)


def saved(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


RGB, GREY = COLOUR[0], COLOUR[0, :, :, 0]
FEW = Image.fromarray(RGB).quantize(16)
SAME = {
    "palette": (saved(FEW), np.asarray(FEW.convert("RGB"))),
    "opaque alpha": (saved(Image.fromarray(RGB).convert("RGBA")), RGB),
    "grey with opaque alpha": (saved(Image.fromarray(GREY).convert("LA")), GREY[..., None]),
    "black and white": (
        saved(Image.fromarray(GREY).convert("1")),
        np.asarray(Image.fromarray(GREY).convert("1").convert("L"))[..., None],
    ),
    "tiff": (saved(Image.fromarray(RGB), "TIFF"), RGB),
    "bmp": (saved(Image.fromarray(RGB), "BMP"), RGB),
}
"""Files that say grey or RGB in other words, and their pixels."""


@pytest.mark.parametrize("kind", SAME)
def test_pictures_in_other_words_are_read_as_the_grey_or_rgb_that_they_are(tmp_path, kind):
    content, pixels = SAME[kind]
    (tmp_path / "a.png").write_bytes(content)
    images, _ = open_dataset(str(tmp_path)).read([0])
    assert torch.equal(images[0], torch.from_numpy(pixels.copy()).permute(2, 0, 1))


HALF = np.dstack([RGB, np.full(RGB.shape[:2], 128, np.uint8)])


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(HALF),
        Image.fromarray(HALF).convert("LA"),
        Image.fromarray(HALF).quantize(8),
    ],
    ids=["RGBA", "LA", "P"],
)
def test_a_transparent_picture_has_no_colour_of_its_own(tmp_path, image):
    (tmp_path / "a.png").write_bytes(saved(image))
    with pytest.raises(UsageError, match=r"'a.png' of .* has transparent pixels"):
        open_dataset(str(tmp_path)).read([0])


@pytest.mark.parametrize("layout", ["zip", "folder"])
def test_what_browsers_and_notebooks_leave_is_no_image(tmp_path, layout):
    litter = dict.fromkeys(["._x.png", "__MACOSX/._a.png", ".ipynb_checkpoints/a-checkpoint.png"], b"?")
    path = edm_zip(tmp_path / "set.zip", COLOUR[:2], [1, 0], extra=litter | {"Thumbs.db": b"?"})
    images, labels = read_all(open_dataset(str(path if layout == "zip" else unzipped(path))))
    assert torch.equal(images, channels_first(COLOUR[:2]))
    assert labels.tolist() == [1, 0]


def test_pictures_behind_links_count_and_a_link_to_nowhere_is_named(tmp_path):
    whole = unzipped(edm_zip(tmp_path / "set.zip", COLOUR[:4]))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/sub").symlink_to(whole)
    assert len(open_dataset(str(tmp_path / "linked"))) == 4
    (tmp_path / "linked/lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UsageError, match=r"lost.png' leads nowhere; mend or remove it"):
        open_dataset(str(tmp_path / "linked"))


@pytest.mark.parametrize("labels", [[3.0, 0.0] * 6, [3, 0.0] * 6])
def test_whole_numbers_are_classes_however_they_are_written(tmp_path, labels):
    found = read_all(open_dataset(str(edm_zip(tmp_path / "set.zip", COLOUR, labels))))[1]
    assert found.dtype == torch.int64 and found.tolist() == [3, 0] * 6


@pytest.mark.parametrize("labels", [[0.5, 1] * 6, [-1.0, 0] * 6, [float("inf"), 0] * 6, [True, 0] * 6])
def test_other_numbers_are_no_classes(tmp_path, labels):
    path = edm_zip(tmp_path / "set.zip", COLOUR, labels)
    with pytest.raises(UsageError, match="something that is no label"):
        open_dataset(str(path))
    assert len(find_dataset(str(path), labels=False)()) == 12


IDX_NAMES = [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("names", IDX_NAMES)
def test_idx_files_are_found_under_the_names_that_people_get_them_by(tmp_path, names, packed):
    pixels = COLOUR[:4, :28, :28, 0]
    for name, content in zip(names, (idx(pixels), idx(np.arange(4, dtype=np.uint8))), strict=True):
        file = tmp_path / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(content) if packed else content)
        if "images" in name:
            alone = open_dataset(str(file))
            assert torch.equal(read_all(alone)[0][:, 0], torch.from_numpy(pixels.copy()))
            assert read_all(alone)[1] is None
    images, labels = read_all(open_dataset(str(tmp_path)))
    assert torch.equal(images[:, 0], torch.from_numpy(pixels.copy()))
    assert labels.tolist() == [0, 1, 2, 3]
    (tmp_path / (f"{names[1]}.gz" if packed else names[1])).unlink()
    assert len(find_dataset(str(tmp_path), labels=False)()) == 4


@pytest.mark.parametrize("write", [python2_batch, python3_batch])
def test_the_cifar_archive_is_read_in_the_order_of_its_batches(tmp_path, write):
    classes = np.array([9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2])
    dataset = open_dataset(
        "cifar10", cifar_tar(tmp_path / "cifar-10-python.tar.gz", classes=classes, write=write)
    )
    images, labels = read_all(dataset)
    assert torch.equal(images, channels_first(COLOUR))
    assert torch.equal(labels, torch.from_numpy(classes))
    assert dataset.image_spec == ImageSpec(3, 32, 10)


def test_the_cifar_test_split_is_the_test_batch(tmp_path):
    dataset = cifar_archive(cifar_tar(tmp_path / "c.tar.gz"), labels=False, split="test")
    images, labels = read_all(dataset)
    assert torch.equal(images, channels_first(COLOUR).flip(0))
    assert labels is None


def test_numpys_newer_name_for_its_pickles_is_known(tmp_path):
    def write(pixels, classes):
        return python2_batch(pixels, classes, module="numpy._core.multiarray")

    assert len(open_dataset(str(cifar_tar(tmp_path / "c.tar.gz", write=write)))) == 12


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_as_grey_images_with_classes(tmp_path, zipped):
    grey = COLOUR[:10, :28, :28, 0]
    folder = idx_files(tmp_path / "fashion", grey, np.arange(10)[::-1], zipped=zipped)
    for dataset in (open_dataset("fashion-mnist", folder), open_dataset(str(folder))):
        images, labels = read_all(dataset)
        assert torch.equal(images, channels_first(grey))
        assert labels.tolist() == [*range(10)][::-1]
        assert dataset.image_spec == ImageSpec(1, 28, 10)


def test_digits_and_analytic_sets_are_read_by_index_and_take_no_path(tmp_path):
    for name, images in (
        ("digits", ImageSpec(1, 8, 10)),
        ("gaussian", ImageSpec(1, 8)),
        ("gmm-ring", ImageSpec(2, 1, 8)),
    ):
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


# -- EDM's options ---------------------------------------------------------------------------------


def arange(count, vectors=False):
    pixels = torch.arange(count * 6).reshape(count, 1, 2, 3)[:, :, :, :2].to(torch.uint8)
    return InMemory(pixels, torch.arange(count)[:, None].float() if vectors else torch.arange(count))


@settings(max_examples=40)
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


@settings(max_examples=40)
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


@settings(max_examples=20)
@given(
    count=st.integers(1, 20),
    size=st.integers(1, 25),
    change=st.sampled_from(["pixel", "label", "order", "vectors", "none"]),
)
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


# -- names and places ------------------------------------------------------------------------------


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
        ("ffhq64", "ffhq-64x64.zip", "--resolution=64x64"),
        ("afhqv2-64", "afhqv2-64x64.zip", "--resolution=64x64"),
        ("imagenet64", "imagenet-64x64.zip", "--resolution=64x64 --transform=center-crop"),
    ],
)
def test_a_set_that_cannot_be_downloaded_says_where_to_put_it_and_is_found_there(
    tmp_path, name, place, how
):
    usual = tmp_path / "cache" / "datasets" / place
    with pytest.raises(UsageError) as caught:
        open_dataset(name)
    assert str(usual) in str(caught.value)
    assert how in str(caught.value)
    usual.parent.mkdir(parents=True)
    edm_zip(usual, np.zeros((2, 64, 64, 3), np.uint8), [0, 999])
    assert len(open_dataset(name)) == 2


def clothes(count):
    """So many pictures of the size of Fashion-MNIST's, and their classes, the largest of which is 9."""
    return COLOUR[:count, :28, :28, 0], np.arange(count)[::-1] + 10 - count


def test_fashion_mnist_is_found_in_the_cache_before_the_package_and_then_downloaded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(FashionMNIST, "packaged", packaged := tmp_path / "package")
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    for name, file in (("fashion-mnist", "train-images"), ("fashion-mnist-test", "t10k-images")):
        with pytest.raises(
            UsageError, match=f"{file}-idx3-ubyte.gz of fashion-mnist is not in the cache"
        ):
            open_dataset(name)
    idx_files(packaged, *clothes(3))
    idx_files(packaged, *clothes(2), split="t10k")
    assert [len(open_dataset(name)) for name in ("fashion-mnist", "fashion-mnist-test")] == [3, 2]
    own = tmp_path / "cache" / "datasets" / "fashion-mnist"
    own.parent.mkdir(parents=True)
    idx_files(own, *clothes(5))
    assert [len(open_dataset(name)) for name in ("fashion-mnist", "fashion-mnist-test")] == [5, 2]
    assert len(open_dataset("fashion-mnist", packaged)) == 3
    with pytest.raises(UsageError, match="has no t10k-images-idx3-ubyte, gzipped or not"):
        open_dataset("fashion-mnist-test", own)


def test_the_files_of_fashion_mnist_are_downloaded_from_their_authors_and_verified(
    tmp_path, monkeypatch
):
    """Here one server stands for their site: each file is fetched into one folder, and compared."""
    monkeypatch.setattr(FashionMNISTTest, "packaged", tmp_path / "nothing")
    idx_files(tmp_path / "site", *clothes(4), split="t10k")
    monkeypatch.delenv("BENCH_OFFLINE", raising=False)
    kept = FashionMNISTTest.assets
    assert {asset.url.rpartition("/")[0] for asset in (*kept, *FashionMNIST.assets)} == {
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    }
    assets = []
    with serving() as images, serving() as labels:
        for asset, server in zip(kept, (images, labels), strict=True):
            server.content = (tmp_path / "site" / asset.file).read_bytes()
            md5 = hashlib.md5(server.content).hexdigest()
            assets.append(replace(asset, url=server.url, md5=md5))
        monkeypatch.setattr(FashionMNISTTest, "assets", (assets[0], replace(assets[1], md5="0" * 32)))
        with pytest.raises(BenchError, match=r"t10k-labels-idx1-ubyte.gz .* is not the right file"):
            open_dataset("fashion-mnist-test")
        monkeypatch.setattr(FashionMNISTTest, "assets", tuple(assets))
        dataset = open_dataset("fashion-mnist-test")
        assert len(images.asked) == 1  # which the first attempt had fetched
    assert torch.equal(read_all(dataset)[0], channels_first(clothes(4)[0]))
    assert read_all(open_dataset("fashion-mnist-test"))[1].tolist() == [9, 8, 7, 6]


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
        assert torch.equal(read_all(open_dataset("cifar10", path))[0], channels_first(images))
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


# -- bench stats -----------------------------------------------------------------------------------


def test_the_statistics_of_the_digits_are_the_shipped_ones(bench, tmp_path):
    out = bench.ok("stats", "digits", "-o", str(tmp_path / "made.safetensors")).out
    made, meta = load_tensors(tmp_path / "made.safetensors")
    shipped, known = load_tensors(DIGITS_5K.references["digits"][0])
    assert made.keys() == shipped.keys()
    for name, tensor in shipped.items():
        torch.testing.assert_close(
            made[name], tensor, rtol=1e-4, atol=1e-5
        )  # to the bit on the machine that made them
    for fact in ("dataset", "images", "extractors", "shape"):
        assert meta[fact] == known[fact]
    assert meta["made_by"] == "bench stats digits"
    assert meta["protocol"] == "digits-5k"
    assert "1,797 images of digits, moments.digits.pool, digits-5k" in out


def test_the_statistics_of_a_zip_are_those_of_its_pixels_and_say_how_they_were_made(bench, tmp_path):
    path = edm_zip(tmp_path / "my set.zip", COLOUR[:, :4, :4], [0, 1] * 6)
    file = tmp_path / "r.safetensors"
    bench.ok(
        "stats", str(path), "--protocol", "pixels-5k", "--xflip", "--max-size", "7", "-o", str(file)
    )
    tensors, meta = load_tensors(file)
    chosen = np.arange(12)
    np.random.RandomState(0).shuffle(chosen)
    kept = channels_first(COLOUR[np.sort(chosen[:7]), :4, :4]).numpy() / 127.5 - 1
    x = np.concatenate([kept, kept[..., ::-1]]).reshape(14, -1)
    np.testing.assert_allclose(tensors["moments.pixels.pool.mu"], x.mean(0), atol=1e-6)
    np.testing.assert_allclose(tensors["moments.pixels.pool.sigma"], np.cov(x.T), atol=1e-6)
    assert meta["made_by"] == "bench stats 'my set.zip' --protocol pixels-5k --xflip --max-size 7"
    assert (meta["dataset"], meta["images"], meta["xflip"], meta["max_size"]) == (
        "my set.zip",
        14,
        True,
        7,
    )
    assert str(tmp_path) not in json.dumps(meta)
    digest = ContentDigest()
    digest.update(prepared(open_dataset(str(path)), max_size=7, xflip=True).read(range(14))[0], None)
    assert meta["dataset_digest"] == digest.hexdigest()


def test_a_named_set_is_measured_from_a_path(bench, tmp_path):
    path = edm_zip(tmp_path / "cifar.zip", COLOUR, [9] * 12)
    file = tmp_path / "r.safetensors"
    bench.ok("stats", "cifar10", "--path", str(path), "--protocol", "pixels-5k", "-o", str(file))
    meta = load_tensors(file)[1]
    assert meta["made_by"] == "bench stats cifar10 --path cifar.zip --protocol pixels-5k"
    assert meta["dataset"] == "cifar10"


def test_a_metric_that_the_reference_lacks_is_measured_on_the_set_as_it_was_prepared(bench, tmp_path):
    """A protocol with a reference of mirrored digits, from which the statistics of FID are then
    taken out.
    """
    file = tmp_path / "r.safetensors"
    assert bench("stats", "digits", "--xflip", "--max-size", "300", "-o", str(file))[0] == 0
    tensors, meta = load_tensors(file)
    nothing = {"bank.other.pool.features": torch.zeros(1, 1)}
    save_tensors(file, nothing, meta | {"tensors_sha256": tensors_digest(nothing)})
    measuring = plan_evaluation(
        EvaluationOptions(eval=["fid"], eval_samples=100, reference=str(file)),
        spec_of(registry.teachers.get("edm-digits")),
    )
    found = Evaluator(measuring, torch.device("cpu")).references.prepared["fid"]
    assert found["count"] == 600
    torch.testing.assert_close(found["mu"], tensors["moments.digits.pool.mu"])


UNUSUAL = """
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
"""A protocol without a metric of real images, and a data set whose teachers disagree on the protocol."""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["edm-digits"], "'edm-digits' is a teacher; its data set is 'digits'"),
        (["digitz"], "unknown dataset 'digitz'; did you mean 'digits'?"),
        (["{zip}"], "no teacher was trained on it; choose one with --protocol ("),
        (["{zip}", "--protocol", "digits-5k"], "takes 1x8x8 images, those of"),
        (["{zip}", "--protocol", "pixels-5"], "unknown protocol 'pixels-5'; did you mean 'pixels-5k'?"),
        (["{zip}", "--protocol", "pixels-5k", "--max-size", "1"], "'fid' needs at least 2 images"),
        (
            ["{zip}", "--protocol", "logits-10"],
            "none of the metrics is of logits-10 compares with real images",
        ),
        (["{zip}", "--protocol", "pixels-5k", "-o", "{zip}/x"], "cannot write to the folder"),
        (
            ["cifar10", "--path", "{zip}", "--protocol", "pixels-5k"],
            "expected images 3x32x32 with 10 classes",
        ),
        (["digits", "--path", "{zip}"], "'digits' is made and not read from a file"),
        (["split"], "its teachers use several protocols, digits-5k, pixels-5k"),
    ],
)
def test_statistics_that_cannot_be_made_give_one_sentence_and_no_file(
    bench, tmp_path, arguments, sentence
):
    plugin = tmp_path / "plugin.py"
    plugin.write_text(UNUSUAL)
    path = edm_zip(tmp_path / "set.zip", COLOUR, [0] * 12)
    made = tmp_path / "r.safetensors"
    where = [] if "-o" in arguments else ["-o", str(made)]
    code, out, err = bench(
        "stats", *(word.format(zip=path) for word in arguments), *where, "--plugin", str(plugin)
    )
    assert sentence in err
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert not made.exists()
