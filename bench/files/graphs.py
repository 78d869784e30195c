"""Networks as ONNX graphs: written by torch, and run by onnxruntime without it."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError, UsageError, one_line
from bench.files.atomic import replacing, require_readable
from bench.files.documents import parse_json
from bench.files.tensors import MOST_BYTES

NOISE, LABELS, IMAGES = "noise", "labels", "images"
"""The names of a generator's inputs and of its output."""
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class OnnxGraph(nn.Module):
    """A graph from noise (N, C, H, W), and one-hot labels (N, label_dim) where it takes some, to images.

    Args:
        file: the graph.
        device: where it runs; its inputs and outputs are torch's on that device.

    Raises UsageError for a file that is no such graph, for a package that is missing, and for a GPU
    that the installed onnxruntime does not use.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        super().__init__()
        runtime = _package("onnxruntime")
        require_readable(file, f"the weights file {str(file)!r}")
        if device.type == "cuda" and not runs_on_gpus():
            raise UsageError(
                "the onnxruntime that is installed computes on the CPU alone; give --device cpu, or "
                "install onnxruntime-gpu in its place."
            )
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors, which are raised as well
        options.intra_op_num_threads = torch.get_num_threads()
        providers = (
            [(CUDA, {"device_id": device.index or 0, "use_tf32": 0})] if device.type == "cuda" else []
        )
        try:
            self.session = runtime.InferenceSession(str(file), options, providers=[*providers, CPU])
        except Exception as error:  # of many classes, which the package does not export
            raise UsageError(
                f"the weights file {str(file)!r} is not an ONNX graph that onnxruntime reads "
                f"({one_line(error)}); give one that `bench export` wrote."
            ) from None
        self.inputs = {each.name for each in self.session.get_inputs()}
        if NOISE not in self.inputs or not self.inputs <= {NOISE, LABELS}:
            raise UsageError(
                f"the graph {str(file)!r} takes {', '.join(sorted(self.inputs)) or 'nothing'}, expected "
                f"{NOISE} and perhaps {LABELS}; give one that `bench export` wrote."
            )

    def meta(self, key: str) -> Any:
        """Return the description that the file keeps under a name; None if there is none.

        Raises ValueError for one that is not JSON.
        """
        text = self.session.get_modelmeta().custom_metadata_map.get(key)
        return None if text is None else parse_json(text)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        given = {NOISE: noise.cpu().numpy()}
        if LABELS in self.inputs and labels is not None:
            given[LABELS] = labels.cpu().numpy()
        (images,) = self.session.run(None, given)
        return torch.from_numpy(images).to(noise.device)


def runs_on_gpus() -> bool:
    """Tell whether the installed onnxruntime computes on GPUs."""
    return CUDA in _package("onnxruntime").get_available_providers()


def write_graph(
    file: Path, network: nn.Module, noise: Tensor, labels: Tensor | None, meta: dict[str, Any]
) -> None:
    """Write ``network(noise, labels)`` as a graph for any number of images.

    Args:
        file: where.
        network: called with noise alone where there are no labels.
        noise: an example, (N, C, H, W) with N above 1.
        labels: an example, (N, label_dim), or None.
        meta: descriptions in JSON's types by the names under which the file keeps them.

    Raises UsageError for a missing package and for weights that one file cannot hold, and BenchError
    for a network that torch does not turn into a graph.
    """
    for package in ("onnx", "onnxscript"):
        _package(package)
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size >= MOST_BYTES:
        raise UsageError(
            f"the weights have {size:,} bytes, and an ONNX file holds less than {MOST_BYTES:,}; export "
            "them --to safetensors."
        )
    inputs = (noise,) if labels is None else (noise, labels)
    batch = torch.export.Dim("batch")
    try:
        with _silence(), torch.no_grad():
            program = torch.export.export(
                network, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs), strict=True
            )
            graph = torch.onnx.export(
                program,
                inputs,
                dynamo=True,
                input_names=[NOISE, LABELS][: len(inputs)],
                output_names=[IMAGES],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # of dynamo, of the exporter, or of the network's own code
        raise BenchError(
            f"torch cannot write this generator as an ONNX graph ({type(error).__name__}: "
            f"{one_line(error)}); export it --to safetensors."
        ) from error
    assert graph is not None
    graph.model.metadata_props.update({name: json.dumps(value) for name, value in meta.items()})
    with replacing(file) as temporary:
        graph.save(str(temporary), external_data=False)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's remarks from the user, who can do nothing about them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _package(name: str) -> Any:
    """Import a package that only ONNX needs. Raises UsageError where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(
            f"ONNX needs the package {name}, which is not installed; "
            "`pip install 'distill-bench[onnx]'` gets it."
        ) from None
