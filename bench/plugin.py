"""Everything the author of a plugin needs: the contracts, the shared mathematics, and the decorators that register.

Methods, teachers and evaluations import this module and torch, and nothing else of the suite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bench.checkpoint import load_tensors, load_weights
from bench.diffusion import (
    Denoiser,
    EDMPrecond,
    NoiseLevels,
    denoising_loss,
    ema_decay,
    heun,
    heun_nfe,
    per_image,
    pixels,
)
from bench.errors import BenchError, UsageError
from bench.method import Adam, Batch, Method, Requirement, Settings, Step, TeacherPairs, TrainingSettings
from bench.protocol import FeatureExtractor, Features, Metric, Protocol, from_uint8, to_uint8
from bench.registry import get, register
from bench.teacher import Dataset, ImageSpec, Teacher, Trainable, tensors_digest

T = TypeVar("T", bound=type)


def register_method(name: str) -> Callable[[T], T]:
    """Class decorator: make a Method available as ``--method NAME``."""
    return register("method", name)


def register_teacher(name: str) -> Callable[[T], T]:
    """Class decorator: make a Teacher available as ``--teacher NAME``."""
    return register("teacher", name)


def register_metric(name: str) -> Callable[[T], T]:
    """Class decorator: make a Metric available as ``--eval NAME``."""
    return register("metric", name)


def register_extractor(name: str) -> Callable[[T], T]:
    """Class decorator: make a FeatureExtractor available to protocols."""
    return register("extractor", name)


def register_dataset(name: str) -> Callable[[T], T]:
    """Class decorator: make a Dataset available to teachers and reference statistics."""
    return register("dataset", name)


def register_protocol(protocol: Protocol) -> None:
    """Make a Protocol available as ``--protocol ID``."""
    register("protocol", protocol.id)(protocol)


def open_dataset(name: str) -> Dataset:
    """The data set registered under ``name``."""
    dataset: Dataset = get("dataset", name)()
    return dataset


__all__ = [
    "Adam",
    "Batch",
    "BenchError",
    "Dataset",
    "Denoiser",
    "EDMPrecond",
    "FeatureExtractor",
    "Features",
    "ImageSpec",
    "Method",
    "Metric",
    "NoiseLevels",
    "Protocol",
    "Requirement",
    "Settings",
    "Step",
    "Teacher",
    "TeacherPairs",
    "Trainable",
    "TrainingSettings",
    "UsageError",
    "denoising_loss",
    "ema_decay",
    "from_uint8",
    "heun",
    "heun_nfe",
    "load_tensors",
    "load_weights",
    "open_dataset",
    "per_image",
    "pixels",
    "register_dataset",
    "register_extractor",
    "register_method",
    "register_metric",
    "register_protocol",
    "register_teacher",
    "tensors_digest",
    "to_uint8",
]
