"""Whatever bytes a file has, each reader reads it or says in one line why not."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from bench.errors import BenchError
from bench.files.npz import read_npz
from bench.files.tensors import read_weights, save_tensors
from bench.runs.folder import RunFolder
from bench.runs.recipe import read_recipe
from bench.runs.suite import read_suite
from teachers.datasets.named import read_files
from teachers.files.checkpoints import read_checkpoint
from teachers.files.pipelines import read_configuration
from tests.helpers.records import record

CHANGES = 60
PIXELS = np.arange(4 * 6 * 6 * 3, dtype=np.uint8).reshape(4, 6, 6, 3)
WEIGHTS = {"a.weight": torch.ones(3, 2), "b": torch.zeros(2)}


def written(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def image_zip() -> bytes:
    picture = written(lambda file: Image.fromarray(PIXELS[0]).save(file, "PNG"))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", picture)
        archive.writestr("dataset.json", json.dumps({"labels": [["0.png", 1]]}))
    return file.getvalue()


def idx() -> bytes:
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 5, 5) + bytes(50)


def read_all(path):
    dataset = read_files(path)
    dataset.read(range(len(dataset)))


def read_record(path):
    RunFolder(path.parent).read_record()


FILES = {
    "images.zip": (image_zip, read_all),
    "images-idx3-ubyte": (idx, read_all),
    "images.gz": (lambda: gzip.compress(idx()), read_all),
    "images.npy": (lambda: written(lambda file: np.save(file, PIXELS)), read_all),
    "images.npz": (lambda: written(lambda file: np.savez(file, arr_0=PIXELS)), read_all),
    "images.pt": (lambda: written(lambda file: torch.save(torch.from_numpy(PIXELS), file)), read_all),
    "moments.npz": (
        lambda: written(lambda file: np.savez(file, mu=np.zeros(3), sigma=np.eye(3))),
        read_npz,
    ),
    "weights.pt": (lambda: written(lambda file: torch.save({"ema": WEIGHTS}, file)), read_weights),
    "weights.bin": (
        lambda: written(
            lambda file: torch.save(WEIGHTS, file, _use_new_zipfile_serialization=False)
        ),
        read_checkpoint,
    ),
    "weights.safetensors": (lambda: save(WEIGHTS), read_weights),
    "config.json": (lambda: b'{"_class_name": "UNet2DModel", "layers": [1, {"a": null}]}', read_configuration),
    "recipe.yaml": (lambda: b"method: sid\nteacher: edm-digits\nsettings: {alpha: 1.0}\n", read_recipe),
    "suite.yaml": (
        lambda: b"methods: [sid]\nteachers: [edm-digits]\nseeds: [0, 1]\n",
        lambda path: read_suite(path, {}),
    ),
    "record.json": (lambda: record().model_dump_json().encode(), read_record),
}  # fmt: skip


def changed(content: bytes, chance: random.Random) -> bytes:
    """The content cut, with a few other bytes, with a size that lies, or with more in the middle."""
    made, at = bytearray(content), chance.randrange(len(content))
    match chance.randrange(4):
        case 0:
            del made[at:]
        case 1:
            made[at] = chance.randrange(256)
        case 2:
            lie = chance.choice(
                [b"\xff" * 8, bytes(8), struct.pack("<Q", 2**31), struct.pack(">I", 2**31)]
            )
            made[at : at + len(lie)] = lie
        case 3:
            made[at:at] = chance.randbytes(4)
    return bytes(made)


def assert_read_or_refused(path, read):
    try:
        read(path)
    except BenchError as error:
        sentence = str(error)
        assert sentence.isprintable() and len(sentence) < 600 + len(str(path)), sentence
        assert sentence.endswith("."), sentence


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_any_bytes_are_read_or_refused_in_a_line(tmp_path, name):
    make, read = FILES[name]
    content, chance = make(), random.Random(name)
    path = tmp_path / name
    path.write_bytes(content)
    read(path)
    for bad in (b"", bytes(64), *(changed(content, chance) for _ in range(CHANGES))):
        path.write_bytes(bad)
        assert_read_or_refused(path, read)
    path.unlink()
    path.mkdir()
    assert_read_or_refused(path, read)


@pytest.mark.parametrize("stage", ["x", -1, 7, True, None, 10**30])
def test_weights_of_a_stage_that_there_is_not_are_refused(tmp_path, bench, stage):
    recipe = json.loads(
        bench.ok(
            "run", "--method", "sid", "--teacher", "edm-digits", "--eval", "none", "--budget", "updates=1",
            "--format", "json", "--no-teacher",
        ).out
    )["recipe"]  # fmt: skip
    save_tensors(tmp_path / "g.safetensors", {"x": torch.ones(1)}, {"recipe": recipe, "stage": stage})
    code, _, err = bench("sample", tmp_path / "g.safetensors", "-o", tmp_path / "x.png")
    assert code == 2 and "says that it is of stage" in err
