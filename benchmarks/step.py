"""A whole update of a method on the full-size CIFAR-10 network, beside the official code of SiD.

    python -m benchmarks.step --methods sid diff-instruct --batches 16 64 --device cuda
    python -m benchmarks.step --methods sid --batches 16 128 --official CHECKOUT --capture --device cuda
    python -m benchmarks.step --methods sid dmd --batches 256 --teacher edm-digits --capture --device cuda

An update is every step of the method: batches drawn, losses, gradients made finite, optimizers and
the weight average. The network is that of CIFAR-10 (55.7M parameters) with random weights. With
``--official``, a checkout of mingyuanzhou/SiD, the same is made of its networks, its loss and its
settings, with TF32 off as shipped, without its data loader and its synchronisation of processes,
which is to its advantage. Variants are measured one after another, since two do not fit in memory,
each warmed up and then timed by blocks; with ``--capture`` the suite's own also as CUDA graphs. It
prints a Markdown table of the median milliseconds per image and of the peak memory, then JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import environment
from bench.registry import load_plugin
from bench.runs.recipe import make_request
from bench.training.job import make_job
from bench.training.trainer import Trainer
from benchmarks.full_size import PLUGIN, SMALL, lpips_weights
from tests.helpers.trainers import trainer_for

Update = Callable[[], object]


def own_update(
    teacher: str, method: str, batch: int, precision: str, device: torch.device, capture: bool
) -> Update:
    """An iteration of the suite's trainer, past its first updates, of which one is recorded."""
    given = SMALL.get(method, []) if teacher == "random-cifar10" else []
    settings = {name: json.loads(value) for name, _, value in (text.partition("=") for text in given)}
    request = make_request(
        method=method,
        teacher=teacher,
        settings={"batch": batch, "precision": precision} | settings,
        budget="images=100M",
        eval=[],
        device=str(device),
    )
    environment.set_precision(precision)
    trainer: Trainer = trainer_for(make_job(request), device, capture=capture)
    for _ in range(5 if capture else 0):
        trainer.iteration()

    def update() -> None:
        environment.set_precision(precision)
        trainer.iteration()

    return update


def official_update(checkout: Path, batch: int, precision: str, device: torch.device) -> Update:
    """SiD's training step made of the official networks, augmentation and loss."""
    sys.path.insert(0, str(checkout))
    from training.augment import AugmentPipe  # type: ignore[import-not-found]
    from training.networks import EDMPrecond  # type: ignore[import-not-found]
    from training.sid_loss import SID_EDMLoss  # type: ignore[import-not-found]

    half = precision == "fp16"
    network = {
        "model_type": "SongUNet",
        "embedding_type": "positional",
        "encoder_type": "standard",
        "decoder_type": "standard",
        "channel_mult_noise": 1,
        "resample_filter": [1, 1],
        "model_channels": 128,
        "channel_mult": [2, 2, 2],
        "augment_dim": 9,
        "dropout": 0.0,
        "use_fp16": half,
    }
    with device:  # where 55.7M random numbers take no time
        teacher, fake, generator, average = (
            EDMPrecond(img_resolution=32, img_channels=3, label_dim=0, **network) for _ in range(4)
        )
    for net in (teacher, fake, generator, average):
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.02)
    teacher.eval().requires_grad_(False)
    average.eval().requires_grad_(False)
    loss = SID_EDMLoss()
    augment = AugmentPipe(p=0.12, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
    eps = 1e-6 if half else 1e-8
    optimizers = {
        net: torch.optim.Adam(net.parameters(), lr=1e-5, betas=(0.0, 0.999), eps=eps)
        for net in (fake, generator)
    }
    sigma = torch.full((batch, 1, 1, 1), 2.5, device=device)
    no_augment, no_labels = (torch.zeros(batch, n, device=device) for n in (9, 0))

    def images() -> torch.Tensor:
        z = 2.5 * torch.randn(batch, 3, 32, 32, device=device)
        return generator(z, sigma, no_labels, augment_labels=no_augment)

    def descend(net: nn.Module, value: torch.Tensor, scale: float) -> None:
        value = value.sum().mul(scale / batch)
        value.backward()
        value.item()
        net.eval().requires_grad_(False)
        for parameter in net.parameters():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        optimizers[net].step()

    def update() -> None:
        environment.set_precision(precision)
        fake.train().requires_grad_(True)
        optimizers[fake].zero_grad(set_to_none=True)
        made = images()
        descend(fake, loss(fake, made, no_labels, augment), 1.0)
        generator.train().requires_grad_(True)
        optimizers[generator].zero_grad(set_to_none=True)
        made = images()
        descend(
            generator,
            loss.generator_loss(teacher, fake, made, no_labels, None, alpha=1.0, tmax=800),
            100.0,
        )
        with torch.no_grad():
            for a, b in zip(average.parameters(), generator.parameters(), strict=True):
                a.copy_(b.detach().lerp(a, 0.999))

    return update


def wait(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(
    make: Callable[[], Update], batch: int, blocks: int, seconds: float, device: torch.device
) -> dict[str, Any]:
    """Milliseconds per image and peak memory of a variant, or why there is none."""
    try:
        update = make()
        for _ in range(3):
            update()
    except torch.OutOfMemoryError:
        return {"ms_per_image": None, "error": "out of memory"}
    wait(device)
    started = time.perf_counter()
    update()
    wait(device)
    count = max(1, round(seconds / (time.perf_counter() - started)))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(blocks):
        started = time.perf_counter()
        for _ in range(count):
            update()
        wait(device)
        times.append((time.perf_counter() - started) / count / batch * 1e3)
    return {
        "ms_per_image": round(statistics.median(times), 3),
        "blocks": [round(t, 3) for t in times],
        "updates_per_block": count,
        "peak_GB": round(environment.peak_memory(device) / 1e9, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=["sid"])
    parser.add_argument("--batches", nargs="*", type=int, default=[16])
    parser.add_argument("--precisions", nargs="*", default=["fp32"])
    parser.add_argument("--teacher", default="random-cifar10", help="or edm-digits")
    parser.add_argument("--capture", action="store_true", help="also as CUDA graphs")
    parser.add_argument("--official", type=Path, help="a checkout of mingyuanzhou/SiD")
    parser.add_argument("--official-precisions", nargs="*", default=["fp32"])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="about as long as a block takes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    device = environment.choose_device(given.device)
    torch.backends.cudnn.benchmark = True
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["BENCH_CACHE"] = str(folder / "cache")
        (folder / "plugin.py").write_text(PLUGIN)
        if {"cd", "dmd"} & {*given.methods}:
            lpips_weights(folder / "cache")
        load_plugin(folder / "plugin.py")
        for batch in given.batches:
            official = [
                ("sid, official code", p, partial(official_update, given.official, batch, p, device))
                for p in given.official_precisions
                if given.official
            ]
            own = [
                (
                    f"{method}, recorded" if capture else method,
                    p,
                    partial(own_update, given.teacher, method, batch, p, device, capture),
                )
                for method in given.methods
                for p in given.precisions
                for capture in ((False, True) if given.capture else (False,))
            ]
            for who, precision, make in (*official, *own):
                row = {"update": who, "batch": batch, "precision": precision}
                row |= measured(make, batch, given.blocks, given.seconds, device)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
                if device.type == "cuda":
                    torch.cuda.empty_cache()
    facts = {
        "command": "python -m benchmarks.step " + " ".join(sys.argv[1:]),
        "device": environment.device_name(device),
        "torch": torch.__version__,
        "rows": rows,
    }
    print("| update | batch | precision | ms per image | peak GB |\n|---|---|---|---|---|")
    for row in rows:
        cells = row["update"], row["batch"], row["precision"], row["ms_per_image"] or row["error"]
        print("| " + " | ".join(map(str, [*cells, row.get("peak_GB", "")])) + " |")
    print(json.dumps(facts, indent=1))
    if given.output:
        given.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
