"""``bench train``: a training that was stopped goes on as if it never had been."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from bench.errors import Interrupted, UsageError
from bench.files.tensors import load_tensors
from bench.plugin.training import Training
from bench.runs.events import Note
from bench.training import embedded
from bench.training.embedded import train_network
from tests.helpers.dataset_files import idx_files

IMAGES = 500
"""Training images: eight updates of the teacher, four of the classifier."""


@pytest.fixture
def clothes(tmp_path):
    """Noise in the place of Fashion-MNIST."""
    random, folder = np.random.default_rng(0), tmp_path / "cache" / "datasets" / "fashion-mnist"
    folder.parent.mkdir(parents=True)
    for split in ("train", "t10k"):
        pixels = random.integers(0, 256, (40, 28, 28), dtype=np.uint8)
        idx_files(folder, pixels, np.arange(40) % 10, split=split)


def before_update(number, act, monkeypatch):
    """Have something done once, before the update of this number."""
    whole = Training.step

    def step(self):
        if self.update == number:
            monkeypatch.setattr(Training, "step", whole)
            act()
        whole(self)

    monkeypatch.setattr(Training, "step", step)


@pytest.mark.parametrize("network", ["fashion", "edm-fashion"])
def test_what_was_killed_goes_on_from_its_last_state_with_the_same_bits(
    clothes, network, tmp_path, monkeypatch
):
    def die():
        raise MemoryError

    file, notes = tmp_path / "network.safetensors", []
    train_network(network, file, images=IMAGES, seed=1)
    whole, description = load_tensors(file)
    file.unlink()
    monkeypatch.setattr(embedded, "SECONDS", 0.0)  # a state after every update
    before_update(3, die, monkeypatch)
    with pytest.raises(MemoryError):
        train_network(network, file, images=IMAGES, seed=1)
    assert not file.exists()
    train_network(network, file, images=IMAGES, seed=1, observe=notes.append)
    batch = 64 if network == "edm-fashion" else 128
    assert Note(f"continuing after {3 * batch} images") in notes
    again, meta = load_tensors(file)
    assert all(again[name].equal(tensor) for name, tensor in whole.items())
    assert meta == description
    assert sorted(os.listdir(tmp_path)) == ["cache", "network.safetensors"]
    train_network(network, file, images=IMAGES, seed=2)
    assert load_tensors(file)[1]["tensors_sha256"] != meta["tensors_sha256"]


def test_a_signal_stops_a_training_and_its_state_belongs_to_it_alone(clothes, tmp_path, monkeypatch):
    file = tmp_path / "network.safetensors"
    before_update(1, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    with pytest.raises(Interrupted, match="stopped after 256 images; the same command continues"):
        train_network("fashion", file, images=IMAGES)
    with pytest.raises(UsageError, match=r"state of another training \(images 500, seed 0\)"):
        train_network("fashion", file, images=600, seed=1)
    train_network("fashion", file, images=IMAGES)
    assert sorted(os.listdir(tmp_path)) == ["cache", "network.safetensors"]


def test_the_digits_are_trained_on_a_cpu_alone(tmp_path):
    with pytest.raises(UsageError, match="trained on a CPU"):
        train_network("edm-digits", tmp_path / "x.safetensors", images=10, device=torch.device("meta"))
