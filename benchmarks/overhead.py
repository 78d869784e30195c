"""What the suite costs on top of a bare training loop: ledger, display, logging, checkpoints and record.

    python benchmarks/overhead.py [--images 128k] [--blocks 5]

A bare SiD loop, written out below with the same networks, optimizers and weight average, alternates
with ``bench run`` of the same recipe without evaluation, in one process on one thread. Prints the
seconds of each block, the median of the pairwise ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.api import carry_out
from bench.plugin.diffusion import denoising_loss, ema_decay, per_image
from bench.render.terminal.live import RunObserver
from bench.runs.budget import Budget
from bench.runs.recipe import Request, make_request
from bench.training.job import make_job
from methods.sid import LOSS_SCALE, sid_loss


def bare_loop(request: Request) -> float:
    """SiD as a researcher would write it in a notebook; returns its seconds."""
    job = make_job(request)
    s: Any = job.settings
    teacher, noise = job.teacher.denoiser, job.teacher.noise
    assert job.budget
    torch.manual_seed(request.seed)
    fake, generator, average = (job.teacher.trainable_copy() for _ in range(3))
    average.requires_grad_(False)
    optimizers = [
        torch.optim.AdamW(net.parameters(), s.lr, betas=(0.0, 0.999), weight_decay=0, fused=True)
        for net in (fake, generator)
    ]
    total, seen = int(job.budget.amount), 0
    started = time.perf_counter()
    while seen < total:
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = s.lr * min(1.0, (1 - seen / total) / s.lr_decay)
        fake.requires_grad_(True)
        generator.requires_grad_(False)
        with torch.no_grad():
            x = generator(s.init_sigma * torch.randn(s.batch, 1, 8, 8), s.init_sigma)
        optimizers[0].zero_grad()
        denoising_loss(fake, x, noise).mean().backward()
        step(optimizers[0])
        fake.requires_grad_(False)
        generator.requires_grad_(True)
        x = generator(s.init_sigma * torch.randn(s.batch, 1, 8, 8), s.init_sigma)
        sigma = noise.karras(1 - s.tmax * torch.rand(s.batch))
        y = x + per_image(sigma, x) * torch.randn_like(x)
        optimizers[1].zero_grad()
        (LOSS_SCALE * sid_loss(x, teacher(y, sigma), fake(y, sigma), s.alpha)).mean().backward()
        step(optimizers[1])
        with torch.no_grad():
            decay = ema_decay(seen, s.batch, s.ema_halflife)
            torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - decay)
        seen += s.batch
    return time.perf_counter() - started


def step(optimizer: torch.optim.Optimizer) -> None:
    """Gradient sanitation and the optimizer's step."""
    for p in optimizer.param_groups[0]["params"]:
        torch.nan_to_num_(p.grad, nan=0.0, posinf=1e5, neginf=-1e5)
    optimizer.step()


def suite_run(request: Request) -> float:
    """The same through the suite, with its display; returns the seconds of the whole call, start-up
    and files included.
    """
    os.environ["FORCE_COLOR"] = "1"  # the live display of a terminal, drawn into nothing
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        started = time.perf_counter()
        with RunObserver() as observer:
            carry_out(request, Path(folder), observe=observer)
        return time.perf_counter() - started


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", default="128k")
    parser.add_argument("--blocks", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    Budget.parse(f"images={given.images}")
    request = make_request(
        method="sid", teacher="edm-digits", budget=f"images={given.images}", eval=[], device="cpu"
    )
    warm = request.model_copy(update={"budget": "images=8k"})
    bare_loop(warm), suite_run(warm)
    blocks = [(bare_loop(request), suite_run(request)) for _ in range(given.blocks)]
    print(
        json.dumps(
            {
                "command": f"python benchmarks/overhead.py --images {given.images} --blocks {given.blocks}",
                "torch": torch.__version__,
                "bare_seconds": [round(b, 3) for b, _ in blocks],
                "suite_seconds": [round(s, 3) for _, s in blocks],
                "overhead": round(statistics.median(s / b for b, s in blocks) - 1, 4),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
