"""A whole evaluation against those of torch-fidelity and clean-fid, on the same images, weights and
statistics of real images.

    python benchmarks/evaluate.py [--images 256] [--size 32] [--blocks 3] [--device cuda]
    python benchmarks/evaluate.py --peers torch-fidelity --images 5000 --device cuda
    python benchmarks/evaluate.py --peers none --images 50000 --device cuda [--half]

FID and IS of torch-fidelity against ``edm-50k``, FID of clean-fid against ``clean-50k``, both on
this number of images, in alternating blocks. Each side has its network and the statistics of real
images in memory before the clock starts: torch-fidelity's ``calculate_metrics`` would load the one
and compute the other anew, so its own functions are called one by one; clean-fid, which needs a
scipy before 1.18, is given the same network as TorchScript. This suite and torch-fidelity read a
uint8 tensor, clean-fid a folder of PNG files, which are there already. The others work in batches
of 64 and 128 images as they do by default, or of ``--peer-batch``: 8 are faster for them on a CPU.
The threads are those of OMP_NUM_THREADS for all; set it to 1 where the machine is shared.

Prints a Markdown table of median seconds, on the clock and of the processor by all processes, of
the medians of the pairwise ratios, and of the relative differences of the numbers; for the whole,
and for features alone, because the distance takes as long for 256 images as for 50,000. Then all of
it as JSON.

``--peers`` takes one of them alone, where the other does not run.

With ``--peers none`` a generator of edm-cifar10's architecture makes the images in one step, with
random weights: images a second of generating and of measuring, on a GPU also in fast mode and how
far its FID is off. ``--half`` generates in float16.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanfid import fid as cleanfid
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity import metric_fid, metric_isc
from torch_fidelity.utils import create_feature_extractor, get_featuresdict_from_dataset

from bench import environment
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import TargetSpec, plan_evaluation
from bench.evaluation.sampling import quantised
from bench.plugin import Draw
from bench.plugin.accumulators import Moments
from bench.plugin.extractor import FeatureExtractor
from bench.plugin.images import ImageSpec, to_uint8
from bench.runs.options import EvaluationOptions
from evals.inception import CleanInception, Inception, inception_v3, load_network
from teachers.edm import EDMCifar10

REAL = 64
"""Images behind the mean and covariance that stand for those of real images."""
PROTOCOLS = {"edm-50k": (Inception, ["fid", "is"]), "clean-50k": (CleanInception, ["fid"])}
PEERS = {"torch-fidelity": "edm-50k", "clean-fid": "clean-50k"}
"""The protocol that each of them measures by."""
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Contender:
    """A way to the numbers: the features, and from them the rest."""

    features: Callable[[], Any]
    numbers: Callable[[Any], Numbers]
    whole: Callable[[], Numbers] | None = None
    """Both, where they are not done one after the other."""


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock, and of the processor by this process and those that it started and that
    have ended.
    """

    wall: float
    cpu: float

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.wall + other.wall, self.cpu + other.cpu)


def clocked(function: Callable[[], Any]) -> tuple[Any, Taken]:
    """What it returns, and what it took."""
    clock, processor = time.perf_counter(), sum(os.times()[:4])
    result = function()
    return result, Taken(time.perf_counter() - clock, sum(os.times()[:4]) - processor)


# -- what is measured ------------------------------------------------------------------------------


def make_images(count: int, size: int, seed: int) -> Tensor:
    """Smooth coloured blots with a little noise, uint8 (N, 3, size, size); white noise would have
    nearly equal features.
    """
    draw = torch.Generator().manual_seed(seed)
    blots = torch.randn(count, 3, 6, 6, generator=draw) * torch.rand(count, 1, 1, 1, generator=draw)
    smooth = nn.functional.interpolate(blots, (size, size), mode="bicubic")
    return to_uint8(smooth + 0.05 * torch.randn(smooth.shape, generator=draw))


def write_weights(file: Path) -> Path:
    """Random weights of Inception in the published layout, under which its activations stay of a
    healthy size.
    """
    torch.manual_seed(0)
    network = inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    nn.init.normal_(network.get_parameter("fc.weight"), std=0.1)
    torch.save(network.state_dict(), file)
    return file


def evaluator(
    protocol: str, given: argparse.Namespace, weights: Path, *, fast: bool = False
) -> Evaluator:
    """One with the statistics of made-up real images: a mean, and a covariance of full rank as that
    of many images would be.
    """
    device, moments = torch.device(given.device), Moments(REAL)
    kind, metrics = PROTOCOLS[protocol]
    moments.update(features(kind(weights).to(device), make_images(REAL, given.size, seed=1), device), 0)
    real = {name: t.numpy() for name, t in moments.statistics().items()}
    ridge = 1e-3 * real["sigma"].diagonal().mean() * np.eye(len(real["mu"]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "real.npz"
        np.savez(file, mu=real["mu"], sigma=real["sigma"] + ridge)
        wanted = EvaluationOptions(
            protocol=protocol,
            eval=metrics,
            eval_samples=given.images,
            fast=fast,
            reference=str(file),
            extractor_path=str(weights),
        )
        return Evaluator(
            plan_evaluation(wanted, TargetSpec("benchmark", ImageSpec(3, given.size), None)), device
        )


def features(extractor: FeatureExtractor, images: Tensor, device: torch.device) -> Tensor:
    """Those that FID is computed from, as an evaluation has them, on the CPU."""
    with torch.no_grad(), environment.without_tf32():
        return torch.cat([extractor(part.to(device))["pool"] for part in images.split(250)]).cpu()


# -- who measures ----------------------------------------------------------------------------------


def own(images: Tensor, by: Evaluator) -> Contender:
    """This suite."""
    (extractor,) = by.extractors.values()
    return Contender(
        features=lambda: features(extractor, images, by.device),
        numbers=lambda kept: {},
        whole=lambda: {
            n: m.value for n, m in by.measure_images(lambda at: images[at.start : at.stop], [0]).items()
        },
    )


class Tensors(Dataset[Tensor]):
    """Images as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def by_torch_fidelity(
    images: Tensor, device: torch.device, weights: Path, real: dict[str, np.ndarray], batch: int | None
) -> Contender:
    """FID and IS; without its worker processes, which would only copy a tensor that is in memory."""
    layers, cuda = ["2048", "logits_unbiased"], device.type == "cuda"
    network = create_feature_extractor(
        "inception-v3-compat",
        layers,
        cuda=cuda,
        feature_extractor_weights_path=str(weights),
        verbose=False,
    )

    def numbers(features: Mapping[str, Tensor]) -> Numbers:
        generated = metric_fid.fid_featuresdict_to_statistics(features, layers[0])
        mu, sigma = (real[name].astype(generated[name].dtype) for name in ("mu", "sigma"))
        fid = metric_fid.fid_statistics_to_metric(generated, {"mu": mu, "sigma": sigma}, verbose=False)
        score = metric_isc.isc_features_to_metric(features[layers[1]])
        return {"fid": fid[metric_fid.KEY_METRIC_FID], "is": score[metric_isc.KEY_METRIC_ISC_MEAN]}

    return Contender(
        lambda: get_featuresdict_from_dataset(
            Tensors(images), network, batch or 64, cuda, save_cpu_ram=True, verbose=False
        ),
        numbers,
    )


class Scripted(nn.Module):
    """Inception in the form in which clean-fid keeps it: ``layers`` from normalised images to features."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.layers = load_network(weights)[:-1]

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 299, 299) in [-1, 1] to (N, 2048)."""
        return self.layers(images)


def by_clean_fid(
    images: Tensor,
    device: torch.device,
    weights: Path,
    real: dict[str, np.ndarray],
    batch: int | None,
    folder: Path,
) -> Contender:
    """FID, from PNG files that are there already, with a worker process for each core, at most its
    usual twelve.
    """
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:06}.png")
    torch.jit.trace(Scripted(weights), torch.zeros(2, 3, 299, 299)).save(
        str(folder / "inception-2015-12-05.pt")
    )
    network = InceptionV3W(str(folder), download=False).to(device).eval()
    workers = min(12, os.cpu_count() or 1)

    def numbers(features: np.ndarray) -> Numbers:
        mu, sigma = np.mean(features, axis=0), np.cov(features, rowvar=False)
        return {"fid": float(cleanfid.frechet_distance(mu, sigma, real["mu"], real["sigma"]))}

    how = {"num_workers": workers, "batch_size": batch or 128, "device": device, "verbose": False}
    return Contender(partial(cleanfid.get_folder_features, str(folder), network, **how), numbers)


# -- the comparison --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Both sides measured once, one after the other; ``whole`` and ``features`` are what ours and
    theirs took.
    """

    whole: tuple[Taken, Taken]
    features: tuple[Taken, Taken]
    values: Numbers
    """Our numbers."""
    differences: dict[str, float]
    """By how much of ours each of theirs is larger."""


def measured(ours: Contender, theirs: Contender) -> Block:
    """Both, one after the other."""
    assert ours.whole
    own_numbers, own_whole = clocked(ours.whole)
    found, peer_features = clocked(theirs.features)
    peer_numbers, rest = clocked(lambda: theirs.numbers(found))
    _, own_features = clocked(ours.features)
    return Block(
        whole=(own_whole, peer_features + rest),
        features=(own_features, peer_features),
        values=own_numbers,
        differences={
            name: float(f"{peer_numbers[name] / own_numbers[name] - 1:.1e}") for name in own_numbers
        },
    )


def against_peers(given: argparse.Namespace, weights: Path, folder: Path) -> list[dict[str, Any]]:
    """A row for each peer and part."""
    images, device = make_images(given.images, given.size, seed=0), torch.device(given.device)
    pairs: dict[tuple[str, str], tuple[Contender, Contender]] = {}
    makers: dict[str, Callable[..., Contender]] = {
        "torch-fidelity": by_torch_fidelity,
        "clean-fid": partial(by_clean_fid, folder=folder),
    }
    for peer in PEERS if given.peers == "all" else (given.peers,):
        protocol, make = PEERS[peer], makers[peer]
        by = evaluator(protocol, given, weights)
        real = {name: by.references.prepared["fid"][name].cpu().numpy() for name in ("mu", "sigma")}
        ours, theirs = own(images, by), make(images, device, weights, real, given.peer_batch)
        ours.features(), theirs.features()  # a first time, which does not count
        pairs[peer, by.protocol.id] = ours, theirs
    blocks = [
        {pair: measured(*contenders) for pair, contenders in pairs.items()} for _ in range(given.blocks)
    ]
    return [
        {"peer": peer, "protocol": protocol, "part": part}
        | medians([getattr(block[peer, protocol], part) for block in blocks])
        | {
            "values": blocks[0][peer, protocol].values,
            "differences": blocks[0][peer, protocol].differences,
        }
        for peer, protocol in pairs
        for part in ("whole", "features")
    ]


def medians(taken: list[tuple[Taken, Taken]]) -> dict[str, float]:
    """Of the seconds of each side, and of the ratios of theirs to ours within a block; on the clock
    and of the processor.
    """
    row: dict[str, float] = {}
    for kind in ("wall", "cpu"):
        each = [(getattr(ours, kind), getattr(theirs, kind)) for ours, theirs in taken]
        row[f"own_{kind}_s"] = round(statistics.median(ours for ours, _ in each), 2)
        row[f"peer_{kind}_s"] = round(statistics.median(theirs for _, theirs in each), 2)
        row[f"{kind}_ratio"] = round(statistics.median(theirs / ours for ours, theirs in each), 2)
    return row


# -- a generator -----------------------------------------------------------------------------------


class OneStepGenerator:
    """The images of the first seeds by a network of edm-cifar10's architecture with random weights,
    in one step.
    """

    def __init__(self, device: torch.device, half: bool) -> None:
        self.device, self.seconds = device, 0.0
        torch.manual_seed(0)
        self.network = EDMCifar10.network.build().requires_grad_(False)
        for parameter in self.network.parameters():
            if parameter.ndim > 1 and not parameter.any():
                nn.init.kaiming_normal_(parameter)  # EDM's last convolutions start at zero
        self.network.to(device)
        if half:
            self.network.half_type = torch.float16
            self.network.to(memory_format=torch.channels_last)

    def __call__(self, seeds: range) -> Tensor:
        """Their images, uint8; adds to ``seconds`` what it took to make them."""
        self._wait()
        started = time.perf_counter()
        images = quantised(self._generate, EDMCifar10.image_spec, self.device, seeds)
        self._wait()
        self.seconds += time.perf_counter() - started
        return images

    def _generate(self, z: Tensor, labels: Tensor | None, draw: Draw) -> Tensor:
        # Blots of another form in each image make its features vary.
        blots = nn.functional.interpolate(z[:, :, :6, :6], z.shape[2:], mode="bicubic")
        return blots + 0.1 * self.network(2.5 * z, 2.5)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def with_generator(given: argparse.Namespace, weights: Path) -> list[dict[str, Any]]:
    """A row for exact features and, on a GPU, one for fast ones, of the same images."""
    device = torch.device(given.device)
    given.size = EDMCifar10.image_spec.resolution
    environment.set_precision(environment.choose_precision("auto", device))
    generator = OneStepGenerator(device, given.half)
    rows = []
    for fast in [False, True] if device.type == "cuda" else [False]:
        rows.append(generated(given, weights, generator, fast=fast))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return [row | {"fid_difference": row["fid"] - rows[0]["fid"]} for row in rows]


def generated(
    given: argparse.Namespace, weights: Path, generator: OneStepGenerator, *, fast: bool
) -> dict[str, Any]:
    """What it takes to make the images and to measure them, after a first batch, which may compile
    the network.
    """
    by = evaluator("edm-50k", given, weights, fast=fast)
    _, first = clocked(
        lambda: features(by.extractors["inception"], generator(range(by.batch)), by.device)
    )
    generator.seconds = 0.0
    numbers, taken = clocked(lambda: by.measure_images(generator, [0]))
    seconds = {
        "generating": generator.seconds,
        "measuring": taken.wall - generator.seconds,
        "whole": taken.wall,
    }
    return (
        {
            "protocol": by.protocol.id,
            "first_batch_s": round(first.wall, 1),
            "whole_s": round(taken.wall, 2),
        }
        | {f"{part}_images_s": round(given.images / spent, 1) for part, spent in seconds.items()}
        | {"peak_memory_gb": round(environment.peak_memory(by.device) / 1e9, 2)}
        | {name: measurement.value for name, measurement in numbers.items()}
    )


def arguments() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--peer-batch", type=int)
    parser.add_argument("--peers", choices=("all", *PEERS, "none"), default="all")
    parser.add_argument("--half", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table and JSON."""
    given = arguments()
    warnings.simplefilter("ignore")  # of TorchScript and of an argument of sqrtm, which go out of use
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = given.weights or write_weights(folder / "inception.pth")
        rows = (
            with_generator(given, weights)
            if given.peers == "none"
            else against_peers(given, weights, folder)
        )
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    facts = {
        "command": shlex.join(["python", *sys.argv]),
        "torch": torch.__version__,
        "device": environment.device_name(torch.device(given.device)),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
    }
    print("\n" + json.dumps(facts | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
