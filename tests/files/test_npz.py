"""Published statistics files: what numpy reads is read alike, and what is damaged or hostile costs
a sentence and no memory.
"""

from __future__ import annotations

import pickle
import random
import struct
import zipfile
import zlib
from io import BytesIO

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.files import npz
from bench.files.npz import read_npz
from tests.helpers.handmade_npz import archive, header, member
from tests.helpers.handmade_zips import changed, crowded_zip, deflated, encrypted, zip_by_hand
from tests.helpers.memory import memory_below
from tests.helpers.places import a_folder, a_loop, a_pipe, an_endless_device, nothing

D = 5
SAVES = (np.savez, np.savez_compressed)
FLOATS = ("<f4", "<f8", ">f4", ">f8")


def mean(d=D, seed=0):
    return np.random.default_rng(seed).normal(size=d)


def covariance(d=D, seed=0, n=40):
    return np.atleast_2d(np.cov(np.random.default_rng(seed).normal(size=(n, d)), rowvar=False))


def pixels(n=3, r=4):
    return np.random.default_rng(1).integers(0, 256, (n, r, r, 3), dtype=np.uint8)


def moments(**others):
    return {"mu": mean(), "sigma": covariance()} | others


LAYOUTS = {
    "moments": moments,
    "openai": lambda: moments(arr_0=pixels(), arr_1=np.arange(3), mu_s=mean(7), sigma_s=covariance(7)),
    "samples": lambda: {"arr_0": pixels(), "arr_1": np.arange(3)},
    "features": lambda: {"feats": np.random.default_rng(2).normal(size=(6, D)).astype(np.float32)},
}


def saved(arrays, save=np.savez):
    file = BytesIO()
    save(file, **arrays)
    return file.getvalue()


def written(folder, content):
    path = folder / "reference.npz"
    path.write_bytes(content)
    return path


def assert_same(path, expected):
    """The file holds these arrays, and nothing else that the suite uses."""
    content = read_npz(path)
    assert (content.moments is None) == ("mu" not in expected)
    if content.moments is not None:
        assert content.moments.keys() == {"mu", "sigma"}
        assert all(
            t.dtype == torch.float64 and np.array_equal(t, expected[name])
            for name, t in content.moments.items()
        )
    assert (content.features is None) == ("feats" not in expected)
    if content.features is not None:
        assert content.features.dtype == torch.float32
        assert np.array_equal(content.features, expected["feats"].astype(np.float32))
    assert content.has_images == ("arr_0" in expected)
    if content.has_images:
        assert content.images().dtype == torch.uint8
        assert np.array_equal(content.images(), expected["arr_0"].transpose(0, 3, 1, 2))
    return content


def assert_refused(path, because="", read=read_npz):
    """One sentence that names the file, and no more memory than the file and a few pieces."""
    with memory_below(2**23), pytest.raises(UsageError) as refusal:
        read(path)
    said = str(refusal.value).replace(str(path), "FILE")
    assert "FILE" in said
    assert said.isprintable() and said.endswith(".") and ". " not in said and len(said) < 400, said
    assert because in said


# -- what is right ---------------------------------------------------------------------------------


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("title", LAYOUTS)
def test_every_layout_is_read(tmp_path, title, save):
    assert_same(written(tmp_path, saved(LAYOUTS[title](), save)), LAYOUTS[title]())


matrices = st.tuples(st.integers(1, 8), st.integers(0, 10_000))


@settings(max_examples=40)
@given(
    size=matrices,
    types=st.tuples(*[st.sampled_from(FLOATS)] * 2),
    order=st.sampled_from("CF"),
    save=st.sampled_from(SAVES),
    backwards=st.booleans(),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e12]),
)
def test_moments_are_those_that_numpy_reads(
    tmp_path_factory, size, types, order, save, backwards, scale
):
    sigma = (scale * covariance(*size)).astype(types[1], order=order)
    arrays = {"mu": mean(*size).astype(types[0]), "sigma": sigma}
    path = written(
        tmp_path_factory.getbasetemp(),
        saved(dict(reversed(arrays.items())) if backwards else arrays, save),
    )
    with np.load(path) as file:
        assert_same(path, dict(file))


@settings(max_examples=25)
@given(
    n=st.integers(1, 9), d=st.integers(1, 9), kind=st.sampled_from(FLOATS), order=st.sampled_from("CF")
)
def test_features_are_those_that_numpy_reads(tmp_path_factory, n, d, kind, order):
    feats = np.random.default_rng(n + d).normal(size=(n, d)).astype(kind, order=order)
    path = written(tmp_path_factory.getbasetemp(), saved({"feats": feats}))
    with np.load(path) as file:
        assert_same(path, dict(file))


@settings(max_examples=25)
@given(
    n=st.integers(1, 6), r=st.integers(1, 40), order=st.sampled_from("CF"), save=st.sampled_from(SAVES)
)
def test_images_are_those_that_numpy_reads(tmp_path_factory, n, r, order, save):
    path = written(
        tmp_path_factory.getbasetemp(), saved({"arr_0": np.asarray(pixels(n, r), order=order)}, save)
    )
    with np.load(path) as file:
        assert_same(path, dict(file))


def test_statistics_of_inceptions_size_are_read(tmp_path):
    """4096 is too many dimensions for a fast test; these arrays already take more than one piece."""
    d = 300
    for kind in (np.float32, np.float64):
        arrays = {"mu": mean(d).astype(kind), "sigma": covariance(d, n=60).astype(kind)}
        assert_same(written(tmp_path, saved(arrays)), arrays)


def test_members_may_lack_their_ending_as_for_numpy(tmp_path):
    assert_same(written(tmp_path, archive(moments(), suffix="")), moments())


def test_images_are_read_only_when_asked_for(tmp_path):
    """Damaged pixels are no obstacle to the moments beside them."""
    content = saved(LAYOUTS["openai"]() | {"arr_0": pixels(30, 8)})
    path = written(tmp_path, changed(content, pixels(30, 8).tobytes(), bytes(30 * 8 * 8 * 3)))
    read = read_npz(path)
    assert read.moments is not None and np.array_equal(read.moments["mu"], mean())
    assert_refused(path, "CRC-32", lambda _: read.images())


def test_a_file_without_images_says_so(tmp_path):
    content = read_npz(written(tmp_path, saved(moments())))
    assert not content.has_images
    assert_refused(content.path, "it holds no images, expected arr_0", lambda _: content.images())


def test_images_that_have_changed_since_are_not_taken_for_the_same(tmp_path):
    content = read_npz(written(tmp_path, saved({"arr_0": pixels()})))
    written(tmp_path, saved({"arr_0": pixels().astype(float)}))
    assert_refused(content.path, "expected uint8", lambda _: content.images())


def test_other_arrays_are_left_alone(tmp_path):
    others = {"note": np.array("text"), "run": RUNNING, "half": np.ones(2, np.float16)}
    path = written(tmp_path, saved(moments(**others)))
    assert_same(path, moments())


def test_a_header_that_python_2_wrote_is_read_without_a_warning(tmp_path, recwarn):
    assert_same(
        written(tmp_path, archive(moments() | {"mu": member(mean(), header=header(shape="(5L,)"))})),
        moments(),
    )
    assert not recwarn.list


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 40])
def test_rounding_does_not_spoil_a_covariance(tmp_path, kind, n):
    """Fewer images than dimensions leave eigenvalues of 0, which rounding moves to either side, as
    it does the two halves.
    """
    sigma = covariance(64, n=n).astype(kind)
    sigma[np.tril_indices(64)] *= 1 + np.finfo(kind).eps
    arrays = {"mu": mean(64).astype(kind), "sigma": sigma}
    assert_same(written(tmp_path, saved(arrays)), arrays)


def test_images_that_are_all_alike_have_a_covariance_of_0(tmp_path):
    arrays = moments(sigma=np.zeros((D, D)))
    assert_same(written(tmp_path, saved(arrays)), arrays)


# -- what is wrong ---------------------------------------------------------------------------------


def spoilt(value, at=(1, 2)):
    sigma = covariance()
    sigma[at] = value
    return sigma


def symmetric(value):
    sigma = spoilt(value)
    sigma[2, 1] = value
    return sigma


WRONG = {
    "no member": ({}, "it holds nothing, expected mu and sigma, or arr_0, or feats"),
    "other members": (
        {f"a{i}": mean() for i in range(9)},
        "it holds 'a0', 'a1', 'a2' and 6 more, expected",
    ),
    "no sigma": ({"mu": mean()}, "one of mu and sigma, expected both"),
    "no mu": ({"sigma": covariance(), "arr_0": pixels()}, "one of mu and sigma, expected both"),
    "arrays without names": ({"arr_0": mean(), "arr_1": covariance()}, "expected uint8 (N, R, R, 3)"),
    "mu of two axes": (
        moments(mu=mean()[None]),
        "mu is float64 (1, 5), expected float32 or float64 (d,)",
    ),
    "mu of no axes": (moments(mu=np.array(1.0), sigma=covariance(1)), "mu is float64 ()"),
    "mu of nothing": (moments(mu=np.ones(0), sigma=np.ones((0, 0))), "mu is float64 (0,)"),
    "too many features": (moments(mu=np.ones(4097)), "with d at most 4,096"),
    "too many features, banked": ({"feats": np.ones((1, 4097), np.float32)}, "with d at most 4,096"),
    "sigma of another size": (
        moments(sigma=covariance(4)),
        "sigma is float64 (4, 4), expected float32 or float64 (5, 5)",
    ),
    "sigma not square": (moments(sigma=covariance()[:4]), "sigma is float64 (4, 5)"),
    "sigma flat": (moments(sigma=covariance().ravel()), "sigma is float64 (25,)"),
    "half floats": (moments(mu=mean().astype(np.float16)), "mu is float16"),
    "whole numbers": (moments(sigma=np.eye(D, dtype=np.int64)), "sigma is int64"),
    "long doubles": (moments(mu=mean().astype(np.longdouble)), "expected float32 or float64"),
    "complex numbers": (moments(mu=mean() + 0j), "mu is complex128"),
    "truth values": (moments(mu=mean() > 0), "mu is bool"),
    "text": (moments(mu=np.array(["a"] * D)), "mu is <U1"),
    "times": (moments(mu=np.zeros(D, "M8[s]")), "mu is datetime64[s]"),
    "records": (moments(mu=np.zeros(D, [("a", "f8")])), "mu is [('a', '<f8')]"),
    "records with line breaks": (moments(mu=np.zeros(D, [("a\n. ", "f8")])), "expected float32"),
    "objects": (moments(mu=np.array([1.0] * D, dtype=object)), "mu is object"),
    "NaN in mu": (moments(mu=np.array([1, np.nan, 1, 1, 1])), "mu has NaN"),
    "infinite mu": (moments(mu=np.array([1, -np.inf, 1, 1, 1])), "mu has NaN, infinite"),
    "NaN in sigma": (moments(sigma=symmetric(np.nan)), "sigma has NaN"),
    "infinite sigma": (moments(sigma=symmetric(np.inf)), "sigma has NaN, infinite"),
    "sigma beyond float32": (moments(sigma=covariance() * 1e300), "sigma has NaN, infinite or enormous"),
    "one side of sigma": (moments(sigma=spoilt(0.0)), "sigma is not symmetric"),
    "one side of sigma, a little": (
        moments(sigma=spoilt(covariance()[1, 2] + 1e-5)),
        "sigma is not symmetric",
    ),
    "a negative variance": (moments(sigma=spoilt(-1.0, (2, 2))), "negative number on its diagonal"),
    "correlations above 1": (moments(sigma=symmetric(10.0)), "negative eigenvalue"),
    "no variance but covariance": (moments(sigma=np.ones((D, D)) - np.eye(D)), "negative eigenvalue"),
    "NaN in features": ({"feats": np.full((2, 3), np.nan, np.float32)}, "feats has NaN"),
    "features beyond float32": (
        {"feats": np.full((2, 3), 1e300)},
        "feats has NaN, infinite or enormous",
    ),
    "features of one axis": (
        {"feats": mean()},
        "feats is float64 (5,), expected float32 or float64 (N, d)",
    ),
    "no features": ({"feats": np.ones((0, 5))}, "feats is float64 (0, 5)"),
    "features of no dimensions": ({"feats": np.ones((5, 0))}, "feats is float64 (5, 0)"),
    "images as floats": (
        {"arr_0": pixels() / 255},
        "arr_0 is float64 (3, 4, 4, 3), expected uint8 (N, R, R, 3)",
    ),
    "images with channels first": (
        {"arr_0": pixels().transpose(0, 3, 1, 2)},
        "arr_0 is uint8 (3, 3, 4, 4)",
    ),
    "images of two channels": ({"arr_0": pixels()[..., :2]}, "arr_0 is uint8 (3, 4, 4, 2)"),
    "images that are not square": ({"arr_0": pixels()[:, :2]}, "arr_0 is uint8 (3, 2, 4, 3)"),
    "no images": ({"arr_0": pixels()[:0]}, "arr_0 is uint8 (0, 4, 4, 3)"),
    "images of no pixels": ({"arr_0": pixels()[:, :0, :0]}, "arr_0 is uint8 (3, 0, 0, 3)"),
    "damaged images beside moments": (moments(arr_0=pixels() / 255), "arr_0 is float64"),
}


@pytest.mark.parametrize("title", WRONG)
def test_arrays_that_are_no_statistics_are_refused(tmp_path, title):
    arrays, because = WRONG[title]
    assert_refused(written(tmp_path, saved(arrays)), because)


# -- what is hostile -------------------------------------------------------------------------------


def with_mu(numbers=None, **told):
    """A file of moments whose mu has an odd header."""
    told = {"header": header()} | told
    return archive(moments(mu=member(mean() if numbers is None else numbers, **told)))


def with_feats(shape):
    return archive({"feats": member(np.ones((1, 1)), header=header(shape=shape))})


def shaped(shape, descr="'<f4'"):
    return member(np.ones(0), header=header(descr, shape=shape))


def promising(method):
    """Features of 4 GB, of which 4,000 bytes are there."""
    content = shaped("(1048575, 1024)")
    size, content = len(content) + 4 * 1048575 * 1024, content + bytes(4000)
    packed = deflated(content) if method == zipfile.ZIP_DEFLATED else content
    return zip_by_hand(("feats.npy", method, packed, size, zlib.crc32(content)))


def cut_short():
    """Features of 16 MB that are said to lie in a file that has 4,000 bytes of them."""
    content = shaped("(4096, 1024)") + bytes(4000)
    made = zip_by_hand(("feats.npy", zipfile.ZIP_STORED, content, len(content), 0))
    return made.replace(struct.pack("<I", len(content)), struct.pack("<I", len(content) - 4000 + 2**24))


def exploding():
    """Moments of which mu, of 5 numbers, is a member of 3 GB."""
    start, sigma = member(mean()), member(covariance())
    bomb = ("mu.npy", zipfile.ZIP_DEFLATED, deflated(start, 192), len(start) + 192 * 2**24, 0)
    return zip_by_hand(bomb, ("sigma.npy", zipfile.ZIP_STORED, sigma, len(sigma), zlib.crc32(sigma)))


def twice():
    return changed(archive(moments(mv=mean(seed=3))), b"mv.npy", b"mu.npy")


def torch_file():
    file = BytesIO()
    torch.save({"mu": torch.ones(D)}, file)
    return file.getvalue()


class Running:
    """Unpickled, it prints."""

    def __reduce__(self):
        return print, ("run",)


RUNNING = np.array([Running()] * D, dtype=object)
ZIP, BEGINS = "it does not begin as a zip", "'mu.npy' does not begin as numpy begins an array"
PACKED, NAMES = (
    "is encrypted, or packed as numpy packs none",
    "expected mu and sigma, or arr_0, or feats",
)
KIND, SIZE = "expected float32 or float64", "bytes, expected as many as its shape says"

HOSTILE = {
    "nothing": (ZIP, lambda: b""),
    "text": (ZIP, lambda: b"mu and sigma" * 100),
    "one array": (ZIP, lambda: member(mean())),
    "safetensors": (ZIP, lambda: safetensors.torch.save({"mu": torch.ones(D)})),
    "a pickle": (ZIP, lambda: pickle.dumps({"mu": [1.0]})),
    "a state dict of torch": ("'archive/data.pkl' does not begin", torch_file),
    "nothing but a beginning": ("not a zip file", lambda: b"PK\x03\x04"),
    "an empty zip": ("it holds nothing", lambda: b"PK\x05\x06" + bytes(18)),
    "a zip of 100,000 members": ("central directory", lambda: crowded_zip(100_000, directory_at=4)),
    "members elsewhere": (
        "it holds '../mu', '../sigma', expected",
        lambda: archive(moments(), prefix="../"),
    ),
    "members at the root": (
        "it holds '/mu', '/sigma', expected",
        lambda: archive(moments(), prefix="/"),
    ),
    "members in a folder": (
        "it holds 'a/mu', 'a/sigma', expected",
        lambda: archive(moments(), prefix="a/"),
    ),
    "members with line breaks": (NAMES, lambda: archive(moments(), prefix="a\n. ")),
    "members with long names": (NAMES, lambda: archive({f"{i}" * 9000: mean() for i in range(9)})),
    "a text beside them": ("'README.npy' does not begin", lambda: archive(moments(README=b"text"))),
    "two members of one name": ("two of its arrays have one name", twice),
    "two members of names that numpy takes for one": (
        "have one name",
        lambda: archive(moments() | {"mu.npy": mean()}, suffix=""),
    ),
    "another name where a member lies": (
        "differ",
        lambda: archive(moments()).replace(b"mu.npy", b"mv.npy", 1),
    ),
    "an encrypted member": (PACKED, lambda: encrypted(archive(moments()))),
    "members by bzip2": (PACKED, lambda: archive(moments(), zipfile.ZIP_BZIP2)),
    "a bomb by bzip2": (
        PACKED,
        lambda: archive({"feats": shaped("(2560, 1024)") + bytes(10 * 2**20)}, zipfile.ZIP_BZIP2),
    ),
    "a bomb by LZMA": (
        PACKED,
        lambda: archive({"feats": shaped("(2560, 1024)") + bytes(10 * 2**20)}, zipfile.ZIP_LZMA),
    ),
    "a bomb behind mu": (SIZE, exploding),
    "a packed member that promises 4 GB": (
        "feats ends after 4,000 of 4,294,963,200 bytes",
        lambda: promising(zipfile.ZIP_DEFLATED),
    ),
    "a plain member that promises 4 GB": (
        "feats ends after 4,000 of 4,294,963,200 bytes",
        lambda: promising(zipfile.ZIP_STORED),
    ),
    "a member that is not all there": ("", cut_short),
    "objects that run code": ("mu is object (5,)", lambda: archive(moments(mu=member(RUNNING)))),
    "objects that run code, said to be numbers": (
        SIZE,
        lambda: with_mu(np.frombuffer(pickle.dumps(RUNNING), np.uint8)),
    ),
    "numbers, said to be objects": ("mu is object (5,)", lambda: with_mu(header=header("'|O'"))),
    "a shape beyond the member": (SIZE, lambda: with_mu(header=header(shape="(4096,)"))),
    "a shape short of the member": (SIZE, lambda: with_mu(np.append(mean(), 1.0))),
    "a shape in terabytes": (SIZE, lambda: with_feats("(1099511627776, 4096)")),
    "a shape that overflows": (SIZE, lambda: with_feats("(18446744073709551617, 1)")),
    "a shape of long digits": (SIZE, lambda: with_feats(f"({'9' * 700}, 1)")),
    "a negative shape": (KIND, lambda: with_mu(header=header(shape="(-5,)"))),
    "a shape of negatives": (KIND, lambda: with_feats("(-1, -1)")),
    "a shape of half numbers": (BEGINS, lambda: with_mu(header=header(shape="(5.0,)"))),
    "a shape that is a list": (BEGINS, lambda: with_mu(header=header(shape="[5]"))),
    "a shape that is a number": (BEGINS, lambda: with_mu(header=header(shape="5"))),
    "a shape of hundreds of axes": (KIND, lambda: with_mu(header=header(shape=f"({'1,' * 400}5)"))),
    "an order that is a number": (BEGINS, lambda: with_mu(header=header(order="1"))),
    "a type that is a number": (BEGINS, lambda: with_mu(header=header("8"))),
    "an unknown type": (BEGINS, lambda: with_mu(header=header("'<f7'"))),
    "a type of 2 GB": (KIND, lambda: with_mu(header=header("'|V2147483647'"))),
    "a type of no bytes": (KIND, lambda: with_mu(header=header("'|V0'"))),
    "a type that is an array": (KIND, lambda: with_mu(header=header("('<f8', (1000, 1000))"))),
    "a type that is an array of terabytes": (
        BEGINS,
        lambda: with_mu(header=header("('<f8', (1000000, 1000000))")),
    ),
    "a type of many records": (KIND, lambda: with_mu(header=header("'" + "f8," * 250 + "f8'"))),
    "a type of nested records": (
        KIND,
        lambda: with_mu(header=header("[('a', " * 60 + "'f8'" + ")]" * 60)),
    ),
    "code in place of a header": (BEGINS, lambda: with_mu(header=b"print('run')")),
    "code in the shape": (BEGINS, lambda: with_mu(header=header(shape="(print('run'),)"))),
    "a comprehension in the shape": (
        BEGINS,
        lambda: with_mu(header=header(shape="tuple(x for x in (5,))")),
    ),
    "a power in the shape": (BEGINS, lambda: with_mu(header=header(shape="(9**9**9,)"))),
    "an escape that Python warns of": (BEGINS, lambda: with_mu(header=header("'\\d'"))),
    "a header that nests": (BEGINS, lambda: with_mu(header=b"(" * 900)),
    "a header of signs": (BEGINS, lambda: with_mu(header=b"-" * 900 + b"1")),
    "a header of zero bytes": (BEGINS, lambda: with_mu(header=bytes(100))),
    "a header that is a list": (BEGINS, lambda: with_mu(header=b"[]")),
    "a header with a key too many": (BEGINS, lambda: with_mu(header=header(more="'a': 1"))),
    "a header with keys of other types": (BEGINS, lambda: with_mu(header=b"{1: 2, 'a': 3, None: 4}")),
    "a header that is not closed": (BEGINS, lambda: with_mu(header=b"{'descr': '''")),
    "a header with tabs astray": (BEGINS, lambda: with_mu(header=b"if 1:\n  1\n 2")),
    "a long header": (BEGINS, lambda: with_mu(header=header() + b" " * 20_000)),
    "a header of 4 GB": (BEGINS, lambda: with_mu(version=(2, 0), length=2**32 - 1)),
    "a header beyond the member": (BEGINS, lambda: with_mu(length=60_000)),
    "a header of nothing": (BEGINS, lambda: with_mu(length=0)),
    "a header of an unknown version": (BEGINS, lambda: with_mu(version=(9, 9))),
    "an array that ends in its magic": (BEGINS, lambda: archive(moments(mu=b"\x93NUM"))),
    "an array that ends after its magic": (BEGINS, lambda: archive(moments(mu=b"\x93NUMPY\x01\x00"))),
    "an array that is empty": (BEGINS, lambda: archive(moments(mu=b""))),
    "an array that is cut": (SIZE, lambda: archive(moments(mu=member(mean())[:-1]))),
    "an array that goes on": (SIZE, lambda: archive(moments(mu=member(mean()) + b"\x00"))),
}


@pytest.mark.parametrize("title", HOSTILE)
def test_hostile_files_are_refused(tmp_path, recwarn, capfd, title):
    because, make = HOSTILE[title]
    assert_refused(written(tmp_path, make()), because)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_numbers_beyond_the_largest_array_are_not_read(tmp_path, monkeypatch):
    """An array may be a bomb and sound in itself; what it may take is bounded."""
    monkeypatch.setattr(npz, "MOST_BYTES", 2**20)
    content = read_npz(
        written(
            tmp_path, archive({"arr_0": np.zeros((4, 1024, 1024, 3), np.uint8)}, zipfile.ZIP_DEFLATED)
        )
    )
    assert_refused(
        content.path,
        "arr_0 has 12,582,912 bytes, at most 1,048,576 are read",
        lambda _: content.images(),
    )


def test_a_bomb_in_an_array_that_is_not_used_does_not_go_off(tmp_path):
    path = written(tmp_path, archive(moments(other=member(mean()) + bytes(2**25)), zipfile.ZIP_DEFLATED))
    with memory_below(2**23):
        assert_same(path, moments())


def test_a_directory_of_8_gigabytes_is_not_read(tmp_path):
    path, size = tmp_path / "reference.npz", 2**33
    with path.open("wb") as file:
        file.write(b"PK\x01\x02")
        file.truncate(size)  # no block of the disk is taken
        file.seek(size)
        file.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 2**20, 2**20, size, 0))
        file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, size, 1))
        file.write(
            b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        )
    assert_refused(path, "central directory")


@pytest.mark.parametrize(
    "make", [a_pipe, a_folder, a_loop, an_endless_device, nothing], ids=lambda make: make.__name__
)
def test_what_is_not_a_file_is_refused(tmp_path, make):
    make(tmp_path / "reference.npz")
    assert_refused(tmp_path / "reference.npz", "check the path")


# -- what is damaged -------------------------------------------------------------------------------


@pytest.mark.parametrize("save", SAVES)
def test_every_cut_of_a_file_is_refused(tmp_path, save):
    content = saved(moments(), save)
    for end in range(len(content)):
        with pytest.raises(UsageError):
            read_npz(written(tmp_path, content[:end]))


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("title", LAYOUTS)
def test_a_damaged_file_gives_its_numbers_or_a_sentence(tmp_path, title, save):
    """Some bytes of a zip mean nothing to a reader: dates, for one. No other damage goes unnoticed."""
    arrays, rng, refusals = LAYOUTS[title](), random.Random(f"{title} {save.__name__}"), []
    content = saved(arrays, save)
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.randrange(len(damaged))
            match rng.randrange(4):
                case 0:
                    damaged[at] ^= 1 << rng.randrange(8)
                case 1:
                    damaged[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
                case 2:
                    del damaged[at : at + rng.choice([1, 4, 64])]
                case 3:
                    damaged[at:at] = rng.randbytes(rng.choice([1, 4, 64]))
        try:
            assert_same(written(tmp_path, bytes(damaged)), arrays)
        except UsageError as error:
            refusals.append(str(error).replace(str(tmp_path), ""))
    assert len(refusals) > 20
    assert all(said.isprintable() and said.endswith(".") and ". " not in said for said in refusals)
