"""Well-formed files of arguments that no network has, or of tensors that do not fit the network
they come with.
"""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from bench.errors import UsageError
from teachers.files.checkpoints import load_network
from teachers.networks.config import NetworkConfig
from tests.helpers.handmade_pickles import snapshot
from tests.helpers.reader_process import assert_refused
from tests.helpers.snapshot_writer import write_snapshot
from tests.helpers.tiny_network import TINY, tiny

WEIGHT, BIAS = "model.map_layer0.weight", "model.map_layer0.bias"

ARGUMENTS = {
    "channels without end": {"channel_mult": [10**9]},
    "levels without end": {"channel_mult": [1] * 64},
    "no levels": {"channel_mult": []},
    "levels of nothing": {"channel_mult": [0]},
    "negative levels": {"channel_mult": [-1]},
    "half a level": {"channel_mult": [0.5]},
    "levels in words": {"channel_mult": "1"},
    "nested levels": {"channel_mult": [[1]]},
    "blocks without end": {"num_blocks": 10**9},
    "no blocks": {"num_blocks": 0},
    "a true number of blocks": {"num_blocks": True},
    "a number of blocks in words": {"num_blocks": "1"},
    "images in terabytes": {"img_resolution": 2**40},
    "no images": {"img_resolution": 0},
    "images without channels": {"img_channels": 0},
    "images of a million channels": {"img_channels": 10**6},
    "a model of terabytes": {"model_channels": 2**30},
    "channels that no group divides": {"model_channels": 130},
    "an odd number of channels": {"model_channels": 5},
    "classes without end": {"label_dim": 10**12},
    "fewer than no classes": {"label_dim": -1},
    "fewer than no augmentations": {"augment_dim": -1},
    "an embedding of terabytes": {"channel_mult_emb": 2**30},
    "noise of terabytes": {"channel_mult_noise": 2**30},
    "dropout beyond 1": {"dropout": 1.5},
    "dropout that is not a number": {"dropout": float("nan")},
    "sigma_data of nothing": {"sigma_data": 0.0},
    "sigma_data without end": {"sigma_data": float("inf")},
    "a filter of nothing": {"resample_filter": []},
    "a filter of zeros": {"resample_filter": [0, 0]},
    "a filter that is not a number": {"resample_filter": [float("nan"), 1]},
    "another encoder": {"encoder_type": "skip"},
    "another embedding": {"embedding_type": "fourier\n"},
    "an unknown argument": {"hook": 1},
    "an unknown argument with a line break": {"ho\nok": 1},
    "an unknown argument of rare characters": {"\U000e0001" * 60: 1},
    "an argument named __class__": {"__class__": "SongUNet"},
    "an argument named self": {"self": 1},
    "a value with a line break": {"encoder_type": "standard\nstandard"},
    "a long value": {"encoder_type": "standard" * 30},
    "None": {"num_blocks": None},
    "many": {f"a{i}": i for i in range(100_000)},
    "the largest that is allowed": {
        "model_channels": 1024,
        "channel_mult": [1024] * 8,
        "num_blocks": 16,
        "img_resolution": 512,
    },
}


@pytest.mark.parametrize("title", ARGUMENTS)
def test_arguments_of_no_network_are_refused(reader, tmp_path, title):
    path = tmp_path / "network.pkl"
    path.write_bytes(snapshot(kwargs=TINY | ARGUMENTS[title]))
    assert_refused(reader, path, network=True)


def test_arguments_of_the_other_family_are_refused(reader, tmp_path):
    """Or raise nothing but a sentence: ADM has no kind of embedding to choose."""
    path = tmp_path / "network.pkl"
    for argument in (
        {"embedding_type": "fourier"},
        {"encoder_type": "residual"},
        {"channel_mult_noise": 2},
    ):
        write_snapshot(path, TINY | {"model_type": "DhariwalUNet"} | argument, tiny())
        assert_refused(reader, path, network=True)


UNFIT = {
    "one is missing": {WEIGHT: None},
    "one is too many": {"model.map_layer2.weight": torch.ones(4, 4)},
    "one is in another module": {"model.enc.map_layer0.weight": torch.ones(4, 4), WEIGHT: None},
    "one is of another shape": {WEIGHT: torch.ones(4, 5)},
    "one is of another shape of the same size": {WEIGHT: torch.ones(2, 8)},
    "one has a dimension more": {BIAS: torch.ones(4, 1)},
    "one is a scalar": {BIAS: torch.tensor(1.0)},
    "one is not a number": {BIAS: torch.tensor([1, float("nan"), 1, 1])},
    "one is infinite": {BIAS: torch.tensor([1, float("inf"), 1, 1])},
    "one is minus infinite": {BIAS: torch.tensor([1, float("-inf"), 1, 1])},
    "one is of double precision": {BIAS: torch.ones(4, dtype=torch.float64)},
    "one is of whole numbers": {BIAS: torch.ones(4, dtype=torch.int32)},
}


@pytest.mark.parametrize("kind", ["pkl", "pt", "legacy.pt", "safetensors"])
@pytest.mark.parametrize("title", UNFIT)
def test_tensors_that_do_not_fit_are_refused(reader, tmp_path, title, kind):
    tensors = {name: tensor for name, tensor in tiny(**UNFIT[title]).items() if tensor is not None}
    path = tmp_path / f"network.{kind}"
    write = {
        "pkl": lambda: write_snapshot(path, TINY, tensors),
        "pt": lambda: torch.save(tensors, path),
        "legacy.pt": lambda: torch.save(tensors, path, _use_new_zipfile_serialization=False),
        "safetensors": lambda: safetensors.torch.save_file(tensors, path),
    }
    write[kind]()
    assert_refused(reader, path, network=TINY)


def test_a_refused_file_leaves_nothing_in_the_cache(tmp_path):
    path = tmp_path / "network.pkl"
    write_snapshot(path, TINY, tiny(**{BIAS: torch.full((4,), float("nan"))}))
    with pytest.raises(UsageError, match="NaN"):
        load_network(path, NetworkConfig.checked(TINY, "here"))
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


DAMAGED = [
    b"",
    b"?",
    safetensors.torch.save({}),
    safetensors.torch.save({"a": torch.ones(1)}),
    safetensors.torch.save({}, {"distill-bench": "[]"}),
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_copy_in_the_cache_is_made_again(tmp_path, damaged):
    path, usual = tmp_path / "network.pkl", NetworkConfig.checked(TINY, "here")
    write_snapshot(path, TINY, tiny())
    load_network(path, usual)
    (copy,) = (tmp_path / "cache").rglob("*.safetensors")
    copy.write_bytes(damaged)
    network, _ = load_network(path, usual)
    torch.testing.assert_close(network.state_dict(), tiny(), rtol=0, atol=0)
