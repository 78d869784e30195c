"""Networks as ONNX graphs: any number of images, with labels, and what they say of themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.errors import BenchError, UsageError
from bench.files import graphs
from bench.files.graphs import OnnxGraph, write_graph
from teachers.networks.config import NetworkConfig
from tests.helpers.tiny_network import TINY

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)
CPU = torch.device("cpu")


class Labelled(nn.Module):
    """A tiny network of EDM with attention, called at one noise level."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        config = TINY | {"label_dim": 3, "attn_resolutions": [8]}
        self.network = NetworkConfig.checked(config, "here").build().eval()
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, noise, labels=None):
        return self.network(2.5 * noise, 2.5, labels)


@torch.no_grad()
def test_a_conditional_unet_is_the_same_as_a_graph_for_any_number_of_images(tmp_path):
    network, file = Labelled(), tmp_path / "graph.onnx"
    write_graph(file, network, torch.zeros(2, 1, 8, 8), torch.eye(3)[[0, 0]], {"mine": {"n": 1}})
    graph = OnnxGraph(file, CPU)
    assert graph.meta("mine") == {"n": 1}
    assert graph.meta("other") is None
    for count in (1, 5):
        z, labels = torch.randn(count, 1, 8, 8), torch.eye(3)[torch.arange(count) % 3]
        torch.testing.assert_close(graph(z, labels), network(z, labels), atol=1e-5, rtol=1e-5)
        assert (network(z, labels) - network(z, labels.roll(1, 1))).abs().max() > 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]


class Branching(nn.Module):
    def forward(self, noise, labels=None):
        return noise if noise.mean() > 0 else -noise


def test_a_network_that_is_no_graph_is_said_to_be_none(tmp_path):
    with pytest.raises(BenchError, match="torch cannot write this generator as an ONNX graph"):
        write_graph(tmp_path / "graph.onnx", Branching(), torch.zeros(2, 1, 8, 8), None, {})
    assert not list(tmp_path.iterdir())


def test_what_is_missing_or_too_large_is_said_before_any_work(tmp_path, monkeypatch):
    large = nn.Module()
    large.weight = nn.Parameter(torch.empty(2**29, device="meta"))
    with pytest.raises(UsageError, match="the weights have 2,147,483,648 bytes"):
        write_graph(tmp_path / "graph.onnx", large, torch.zeros(2, 1, 8, 8), None, {})

    def none(name):
        raise ImportError(name)

    monkeypatch.setattr(graphs, "import_module", none)
    with pytest.raises(
        UsageError, match=r"package onnx, .* `pip install 'distill-bench\[onnx\]'` gets it"
    ):
        write_graph(tmp_path / "graph.onnx", Branching(), torch.zeros(2, 1, 8, 8), None, {})


def test_a_gpu_that_onnxruntime_does_not_use_is_refused(tmp_path, monkeypatch):
    (tmp_path / "graph.onnx").write_bytes(b"x")
    monkeypatch.setattr(graphs, "runs_on_gpus", lambda: False)
    with pytest.raises(UsageError, match="computes on the CPU alone; give --device cpu"):
        OnnxGraph(tmp_path / "graph.onnx", torch.device("cuda:0"))
