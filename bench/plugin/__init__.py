"""All that a plugin's author needs: contracts, shared mathematics, and registering decorators.

A method in ten lines, which trains a copy of the teacher to denoise its own images. As ``mine.py`` it
is run by ``bench run --plugin mine.py --method mine --teacher edm-digits --budget images=20k``, with
``--set`` for each of its settings, such as ``--set lr=1e-4``:

    @register_method("mine")
    class Mine(Method):
        def build(self, teacher):
            self.generator = teacher.trainable_copy()

        def steps(self):
            return [Step("generator", self.generator, self.loss, Adam(self.settings.lr))]

        def generate(self, z, labels=None):  # unit Gaussian noise to images in [-1, 1]
            return self.generator(2.5 * z, 2.5, labels)

        def loss(self, batch):  # one value for each image
            x = self.generate(batch.z, batch.labels).detach()
            return denoising_loss(self.generator, x, self.noise, batch.labels)

``bench new method NAME`` writes a longer example, and ``bench check method NAME`` says whether a method keeps
its contract.

A plugin imports this module, the readers of foreign files in ``bench.files``, and its own package.
The README has an example of a metric, and says how a package announces what it has.
"""

from bench import registry
from bench.environment import device_name, without_tf32
from bench.errors import BenchError, UsageError, explain, one_line, shown
from bench.files.assets import Asset, at_hand, fetch
from bench.files.atomic import cache_folder, sha256
from bench.files.tensors import converted, load_tensors, load_weights, read_weights, tensors_digest
from bench.plugin.accumulators import Accumulator, FeatureBank, HeldOutMoments, Moments, Statistics
from bench.plugin.adapters import FlowDenoiser, VPDenoiser
from bench.plugin.batch import Batch
from bench.plugin.dataset import (
    Dataset,
    InMemory,
    Mirrored,
    Subset,
    label_dim,
    open_dataset,
    refuse_path,
)
from bench.plugin.diffusion import (
    Denoiser,
    EDMPrecond,
    Encoded,
    NoiseLevels,
    add_noise,
    denoising_loss,
    ema_decay,
    fork_rng,
    lognormal,
    per_image,
    pixels,
)
from bench.plugin.dropout import SameUnits, set_dropout
from bench.plugin.extractor import FeatureExtractor, Features
from bench.plugin.images import ImageSpec, from_uint8, to_uint8
from bench.plugin.method import Adam, FurtherLevels, Method, Settings, Step, TrainingSettings
from bench.plugin.metric import FeatureMetric, GeneratorMetric, Metric
from bench.plugin.protocol import Protocol, PublishedStatistics
from bench.plugin.released import Released
from bench.plugin.requirement import (
    PublishedFile,
    RealImages,
    Requirement,
    StartingGenerator,
    TeacherPairs,
)
from bench.plugin.sampler import Draw, Sampler, euler_step, few_steps, heun_step
from bench.plugin.teacher import Augment, ReportedFID, Teacher
from bench.plugin.training import Resumable, Trainable, Training

register_method = registry.methods.register
"""Decorate a Method to make it available as ``--method NAME``."""
get_method = registry.methods.get
"""Get the class of a registered method, whatever package holds it: ``class Mine(get_method("sid"))``."""
register_teacher = registry.teachers.register
"""Decorate a Teacher to make it available as ``--teacher NAME``."""
register_metric = registry.metrics.register
"""Decorate a Metric to make it available as ``--eval NAME``."""
register_extractor = registry.extractors.register
"""Decorate a FeatureExtractor to make it available to protocols, by its name."""
register_dataset = registry.datasets.register
"""Decorate a Dataset to make it available as ``--data NAME``, and to teachers and statistics."""
register_released = registry.released.register
"""Make a Released available: ``register_released("mine")(Released(...))`` is ``released:mine``."""


def register_protocol(protocol: Protocol) -> None:
    """Make a Protocol available as ``--protocol ID``."""
    registry.protocols.register(protocol.id)(protocol)


__all__ = [  # noqa: RUF022 - grouped by what an author makes
    # methods
    "Adam",
    "Batch",
    "FurtherLevels",
    "Method",
    "PublishedFile",
    "RealImages",
    "Requirement",
    "Settings",
    "StartingGenerator",
    "Step",
    "TeacherPairs",
    "TrainingSettings",
    "get_method",
    "register_method",
    # the mathematics of diffusion
    "Denoiser",
    "Draw",
    "EDMPrecond",
    "Encoded",
    "FlowDenoiser",
    "NoiseLevels",
    "Sampler",
    "VPDenoiser",
    "add_noise",
    "denoising_loss",
    "ema_decay",
    "euler_step",
    "few_steps",
    "SameUnits",
    "fork_rng",
    "heun_step",
    "lognormal",
    "per_image",
    "pixels",
    # teachers and released generators
    "Augment",
    "Released",
    "ReportedFID",
    "Teacher",
    "Resumable",
    "Trainable",
    "Training",
    "register_released",
    "register_teacher",
    "set_dropout",
    # images and data sets
    "Dataset",
    "ImageSpec",
    "InMemory",
    "Mirrored",
    "Subset",
    "from_uint8",
    "label_dim",
    "open_dataset",
    "refuse_path",
    "register_dataset",
    "to_uint8",
    # metrics, feature extractors and protocols
    "Accumulator",
    "FeatureBank",
    "FeatureExtractor",
    "FeatureMetric",
    "Features",
    "GeneratorMetric",
    "Metric",
    "HeldOutMoments",
    "Moments",
    "Protocol",
    "PublishedStatistics",
    "Statistics",
    "register_extractor",
    "register_metric",
    "register_protocol",
    # files and weights
    "Asset",
    "at_hand",
    "cache_folder",
    "converted",
    "fetch",
    "load_tensors",
    "load_weights",
    "read_weights",
    "sha256",
    "tensors_digest",
    # errors, and the machine
    "BenchError",
    "UsageError",
    "device_name",
    "explain",
    "one_line",
    "shown",
    "without_tf32",
]
