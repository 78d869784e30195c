"""Everything the author of a plugin needs: the contracts, the shared mathematics, and the decorators that register.

Methods, teachers and evaluations import of the suite this module, the readers of foreign files in ``bench.torchfiles``, and their
own package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bench import registry
from bench.environment import device_name
from bench.errors import BenchError, UsageError, explain, one_line, shown
from bench.files.assets import Asset, fetch
from bench.files.atomic import cache_folder, sha256
from bench.files.tensors import converted, load_tensors, load_weights, tensors_digest
from bench.files.weights import read_weights
from bench.plugin.accumulators import Accumulator, FeatureBank, Moments, Statistics
from bench.plugin.adapters import FlowDenoiser, VPDenoiser
from bench.plugin.dataset import Dataset, InMemory, Mirrored, Subset, label_dim, open_dataset, refuse_path
from bench.plugin.diffusion import (
    Denoiser,
    EDMPrecond,
    Encoded,
    NoiseLevels,
    denoising_loss,
    ema_decay,
    lognormal,
    per_image,
    pixels,
    remember_randomness,
)
from bench.plugin.extractor import FeatureExtractor, Features
from bench.plugin.images import ImageSpec, from_uint8, to_uint8
from bench.plugin.method import (
    Adam,
    Batch,
    FurtherLevels,
    Method,
    PublishedFile,
    RealImages,
    Requirement,
    Settings,
    StartingGenerator,
    Step,
    TeacherPairs,
    TrainingSettings,
)
from bench.plugin.metric import FeatureMetric, GeneratorMetric, Metric
from bench.plugin.protocol import Protocol, PublishedStatistics
from bench.plugin.released import Released
from bench.plugin.sampler import Draw, Sampler, euler_step, few_steps, heun_step
from bench.plugin.teacher import Augment, ReportedFID, Teacher, Trainable, set_dropout

T = TypeVar("T", bound=type)


def register_method(name: str) -> Callable[[T], T]:
    """Class decorator: make a Method available as ``--method NAME``."""
    return registry.methods.register(name)


def register_teacher(name: str) -> Callable[[T], T]:
    """Class decorator: make a Teacher available as ``--teacher NAME``."""
    return registry.teachers.register(name)


def register_metric(name: str) -> Callable[[T], T]:
    """Class decorator: make a Metric available as ``--eval NAME``."""
    return registry.metrics.register(name)


def register_extractor(name: str) -> Callable[[T], T]:
    """Class decorator: make a FeatureExtractor available to protocols."""
    return registry.extractors.register(name)


def register_dataset(name: str) -> Callable[[T], T]:
    """Class decorator: make a Dataset available to teachers and reference statistics."""
    return registry.datasets.register(name)


def register_released(name: str) -> Callable[[Released], Released]:
    """Make a Released generator available as ``released:NAME``: ``register_released("mine")(Released(...))``."""
    return registry.released.register(name)


def register_protocol(protocol: Protocol) -> None:
    """Make a Protocol available as ``--protocol ID``."""
    registry.protocols.register(protocol.id)(protocol)


__all__ = [
    "Accumulator",
    "Adam",
    "Asset",
    "Augment",
    "Batch",
    "BenchError",
    "Dataset",
    "Denoiser",
    "Draw",
    "EDMPrecond",
    "Encoded",
    "FeatureBank",
    "FeatureExtractor",
    "FeatureMetric",
    "Features",
    "FlowDenoiser",
    "FurtherLevels",
    "GeneratorMetric",
    "ImageSpec",
    "InMemory",
    "Method",
    "Metric",
    "Mirrored",
    "Moments",
    "NoiseLevels",
    "Protocol",
    "PublishedFile",
    "PublishedStatistics",
    "RealImages",
    "Released",
    "ReportedFID",
    "Requirement",
    "Sampler",
    "Settings",
    "StartingGenerator",
    "Statistics",
    "Step",
    "Subset",
    "Teacher",
    "TeacherPairs",
    "Trainable",
    "TrainingSettings",
    "UsageError",
    "VPDenoiser",
    "cache_folder",
    "converted",
    "denoising_loss",
    "device_name",
    "ema_decay",
    "euler_step",
    "explain",
    "fetch",
    "few_steps",
    "from_uint8",
    "heun_step",
    "label_dim",
    "load_tensors",
    "load_weights",
    "lognormal",
    "one_line",
    "open_dataset",
    "per_image",
    "pixels",
    "read_weights",
    "refuse_path",
    "register_dataset",
    "register_extractor",
    "register_method",
    "register_metric",
    "register_protocol",
    "register_released",
    "register_teacher",
    "remember_randomness",
    "set_dropout",
    "sha256",
    "shown",
    "tensors_digest",
    "to_uint8",
]
