"""Trainers of the built-in methods, and the settings under which each of them trains from its first
image.
"""

from __future__ import annotations

import torch

from bench.evaluation.sampling import seeded_noise
from bench.runs.recipe import make_request
from bench.training.execution import Execution
from bench.training.job import Job, make_job
from bench.training.pairs import PairStream
from bench.training.real_images import RealStream
from bench.training.trainer import Trainer

CPU = torch.device("cpu")


def make_trainer(
    method: str,
    teacher: str = "edm-digits",
    budget: str = "images=10k",
    seed: int = 0,
    **settings,
):
    """A trainer of a built-in method on the CPU."""
    job = make_job(
        make_request(method=method, teacher=teacher, budget=budget, seed=seed, settings=settings)
    )
    return trainer_for(job, CPU)


def trainer_for(job: Job, device: torch.device, *, capture: bool = False) -> Trainer:
    """A trainer that carries out a job on this device; noise stands in for the images of pairs."""
    job.teacher.to(device)
    seed = job.recipe.seed
    pairs = real = None
    if job.requirements.pairs is not None:
        z, labels = seeded_noise(range(40), job.teacher.image_spec)
        labels = None if labels is None else labels.to(device)
        pairs = PairStream(z.to(device), z.flip(0).to(device), labels, flops=0, seconds=0.0)
    if job.requirements.real is not None:
        real = RealStream(job.requirements.real, job.teacher.image_spec, seed, device)
    torch.manual_seed(seed)
    instance = job.method_class(job.settings, job.teacher)
    return Trainer(instance, job.teacher, job.budget, device, pairs, real, Execution(capture=capture))


DATA_FREE = [
    ("sid", {}),
    ("diff-instruct", {}),
    ("sim", {}),
    ("dmd", {"regression": 0}),
    ("dmd2", {"gan": 0}),
]
"""Trained methods under settings that need neither pairs nor real images."""

TRAINED = [
    *DATA_FREE,
    ("sida", {"generator_starts_at": 0, "adversarial_starts_at": 0}),
    ("sid2a", {"generator_starts_at": 0, "adversarial_starts_at": 0}),
    ("dmd", {}),
    ("dmd2", {}),
    ("dmd2", {"resample": [5.0, 1.0]}),
    ("f-distill", {}),
    ("kd", {}),
    ("pd", {}),
    ("cd", {}),
    ("cd", {"target_decay": 0.9}),
    ("ect", {}),
    ("scd", {}),
]
"""Every trained method, with the settings that change what it does; on digits each is ready from
its first image.
"""
