"""The shipped teacher of Fashion-MNIST's clothes, and its network."""

from __future__ import annotations

import pytest
import torch

from bench.errors import UsageError
from bench.files.tensors import load_tensors
from bench.plugin import EDMPrecond, set_dropout
from teachers.fashion import EDMFashion, EDMFashionCond
from teachers.networks.small_unet import SmallUNet


def random_network(resolution=8):
    """A small one whose weights are all random, also those that begin at 0."""
    torch.manual_seed(0)
    network = SmallUNet(1, resolution, 3, widths=(4, 8), blocks=3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_the_network_is_its_two_halves_with_and_without_labels():
    network = random_network()
    x, c_noise = torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    labels = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1]]
    for given in (None, labels):
        encoded = network.encode(x, c_noise, given)
        assert encoded.features.shape == (5, 8, 2, 2)
        torch.testing.assert_close(network.decode(encoded), network(x, c_noise, given))
    plain = network(x, c_noise)
    torch.testing.assert_close(network(x, c_noise, torch.zeros_like(labels)), plain)
    assert not torch.allclose(network(x, c_noise, labels), plain)
    torch.testing.assert_close(
        network(x[2:3], c_noise[2:3], labels[2:3]), network(x, c_noise, labels)[2:3]
    )


def test_the_networks_derivatives_are_those_of_finite_differences():
    """Backward, twice backward, and forward, which methods of consistency take."""
    network = EDMPrecond(random_network())
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (x, sigma), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda s: network(x.detach(), s).square().sum(), (sigma,))


def test_a_new_network_is_the_identity_and_dropout_can_be_set():
    x = torch.randn(3, 1, 8, 8)
    network = SmallUNet(1, 8, 3, widths=(4, 8), blocks=2)
    assert not network(x, torch.zeros(3)).any()
    network = random_network().float()
    set_dropout(network, 0.5)
    network.train()
    assert not torch.equal(network(x, torch.zeros(3)), network(x, torch.zeros(3)))


def test_the_weights_are_small_described_and_serve_both_teachers():
    _tensors, meta = load_tensors(EDMFashion.shipped)
    assert EDMFashion.shipped.stat().st_size < 8_000_000
    assert meta["made_by"] == "bench train edm-fashion"
    assert meta["images"] == EDMFashion.training_images
    assert meta["tensors_sha256"] == EDMFashion().digest() == EDMFashionCond().digest()


def test_weights_of_another_network_are_refused():
    with pytest.raises(UsageError, match="does not fit its network"):
        EDMFashion(EDMFashion.shipped.with_name("edm_digits.safetensors"))
