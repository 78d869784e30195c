"""Images from anything that generates: a run, a file of generator weights, or a teacher."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench import environment
from bench.checkpoint import load_tensors, load_weights
from bench.errors import UsageError
from bench.evaluate import BATCH, generate_images
from bench.job import resolve
from bench.method import Method
from bench.recipe import Recipe, make_request
from bench.store import find_run


def sample_images(
    source: str, seeds: range, results: Path, *, device_name: str = "auto", steps: int | None = None
) -> tuple[Tensor, int]:
    """Images (N, C, H, W) in [-1, 1] of these seeds, and the evaluations that each cost."""
    device = environment.choose_device(device_name)
    if steps is not None and not source.startswith("teacher:"):
        raise UsageError(
            f"--steps is for teacher:NAME, given with {source!r}; a distilled generator has its own number of steps."
        )
    method = _teacher(source.removeprefix("teacher:"), steps) if source.startswith("teacher:") else _generator(source, results)
    environment.choose_threads(method.generator)
    method.generator.to(device)
    images = method.images
    batches = [seeds[i : i + BATCH] for i in range(0, len(seeds), BATCH)]
    return torch.cat([generate_images(method.generate, b, images, device).cpu() for b in batches]), method.nfe


def _teacher(name: str, steps: int | None) -> Method:
    job = resolve(make_request(method="teacher", teacher=name, settings={"steps": steps} if steps else {}, eval=[]))
    return job.method_class(job.settings, job.teacher)


def _generator(source: str, results: Path) -> Method:
    """A run by its id or folder, or a generator's safetensors file, which carries its recipe."""
    path = Path(source)
    if path.is_file():
        file = path
    else:
        folder, record = find_run(source, results)
        if record.method == "teacher":
            return _teacher(record.teacher, record.recipe["settings"].get("steps"))
        file = folder.weights
        if not file.exists():
            raise UsageError(f"the run {record.run_id} has no generator yet, its status is {record.status!r}; finish it first.")
    tensors, meta = load_tensors(file)
    if "recipe" not in meta:
        raise UsageError(
            f"the weights file {source!r} does not say which run made it; give a run's checkpoints/generator.safetensors."
        )
    job = resolve(make_request(**Recipe.model_validate(meta["recipe"]).as_request()))
    method = job.method_class(job.settings, job.teacher)
    load_weights(method.generator, tensors, f"the weights file {str(file)!r}")
    method.generator.eval()
    return method
