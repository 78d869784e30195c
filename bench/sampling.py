"""Images from anything that generates: a run, a file of generator weights, or a teacher."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench import environment
from bench.checkpoint import load_tensors, load_weights
from bench.errors import UsageError
from bench.evaluate import BATCH, generate_images
from bench.job import Job, resolve
from bench.method import Method
from bench.recipe import Recipe, make_request
from bench.store import find_run


def sample_images(
    source: str, seeds: range, results: Path, *, device: str = "auto", steps: int | None = None
) -> tuple[Tensor, int]:
    """Images (N, C, H, W) in [-1, 1] of these seeds, and the evaluations that each cost."""
    if steps is not None and not source.startswith("teacher:"):
        raise UsageError(
            f"--steps is for teacher:NAME, given with {source!r}; a distilled generator has its own number of steps."
        )
    if source.startswith("teacher:"):
        settings = {"steps": steps} if steps else {}
        name = source.removeprefix("teacher:")
        job = resolve(make_request(method="teacher", teacher=name, settings=settings, eval=[], device=device))
        method = job.method_class(job.settings, job.teacher)
    else:
        job, method = _generator(source, results, device)
    environment.set_precision(job.settings.precision)
    environment.choose_threads(method.generator)
    job.teacher.to(job.device)
    method.generator.to(job.device)
    batches = [seeds[i : i + BATCH] for i in range(0, len(seeds), BATCH)]
    return torch.cat([generate_images(method.generate, b, method.images, job.device).cpu() for b in batches]), method.nfe


def _generator(source: str, results: Path, device: str) -> tuple[Job, Method]:
    """A run by its id or folder, or a generator's safetensors file, which carries its recipe."""
    file = Path(source)
    if file.is_file():
        tensors, meta = load_tensors(file)
        if "recipe" not in meta:
            raise UsageError(
                f"the weights file {source!r} does not say which run made it; give a run's checkpoints/generator.safetensors."
            )
        recipe = Recipe.model_validate(meta["recipe"])
    else:
        folder, record = find_run(source, results)
        recipe, file = Recipe.model_validate(record.recipe), folder.weights
        if recipe.budget is not None and not file.exists():
            raise UsageError(f"the run {record.run_id} has no generator yet, its status is {record.status!r}; finish it first.")
        tensors = load_tensors(file)[0] if recipe.budget is not None else {}
    request = recipe.as_request()
    request["settings"] = request["settings"] | {"precision": "auto"}  # trained on a GPU, perhaps, and sampled elsewhere
    job = resolve(make_request(**request | {"eval": [], "device": device}))
    method = job.method_class(job.settings, job.teacher)
    if tensors:
        load_weights(method.generator, tensors, f"the weights file {str(file)!r}")
    method.generator.eval()
    return job, method
