"""The facts that a teacher keeps, each looked at on a few images."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.conformance.finding import Check, Doubt, Fault, NotApplicable, require_at_hand
from bench.errors import BenchError, UsageError
from bench.evaluation.sampling import seeded_noise
from bench.factory import find_teacher_class
from bench.plugin.dataset import find_dataset
from bench.plugin.diffusion import NoiseLevels
from bench.plugin.images import ImageSpec, from_uint8
from bench.plugin.sampler import Sampler
from bench.plugin.shapes import require_shape
from bench.plugin.teacher import Teacher

SMALL = 1_000_000
"""Parameters of a network that is quick on a CPU: of a larger one fewer images are made."""


@dataclass
class TeacherSubject:
    """A teacher by its name, loaded from where its weights usually lie."""

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, loaded. Raises Fault if its weights are not here."""
        teacher_class, source = find_teacher_class(self.name)
        require_at_hand(teacher_class.assets, f"teacher:{self.name}")
        return teacher_class(None, source)

    @cached_property
    def images(self) -> int:
        """Number of images that are tried at once."""
        size = sum(p.numel() for p in self.teacher.denoiser.parameters())
        return 32 if size <= SMALL else 2

    @cached_property
    def noise(self) -> tuple[Tensor, Tensor | None]:
        """Unit Gaussian noise and labels."""
        return seeded_noise(range(self.images), self.teacher.image_spec)

    @cached_property
    def samples(self) -> Tensor:
        """Images that the teacher makes of this noise."""
        z, labels = self.noise
        with torch.no_grad():
            return self.teacher.sample(z, labels)

    def denoise(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None) -> Tensor:
        """Call the denoiser, and look at the shape that it returns."""
        with torch.no_grad():
            images = self.teacher.denoiser(x, sigma, labels)
        whose = f"what the denoiser of the teacher {self.name!r} returns"
        require_shape(images, x.shape, whose, "return clean images of the noisy ones' shape")
        return images


def loads_with_its_facts(subject: TeacherSubject) -> None:
    """It loads, frozen and in evaluation mode, with its image size, noise levels, sampler, data set and
    protocol.
    """
    teacher = subject.teacher
    for fact, kind in (("image_spec", ImageSpec), ("noise", NoiseLevels), ("sampler", Sampler)):
        if not isinstance(getattr(teacher, fact, None), kind):
            raise Fault(
                f"its {fact} is a {type(getattr(teacher, fact, None)).__name__}, expected {kind.__name__}",
                f"set {fact} on the class, or make it a property and say known_before_loading = False",
            )
    if not 0 < teacher.noise.sigma_min < teacher.noise.sigma_max:
        raise Fault(
            f"its noise levels go from {teacher.noise.sigma_min} to {teacher.noise.sigma_max}",
            "give sigma_min above 0 and sigma_max above that",
        )
    if teacher.protocol is not None and teacher.protocol not in registry.protocols.entries():
        raise Fault(
            f"its protocol {teacher.protocol!r} is registered by nobody",
            "name one of `bench list protocols`, register your own, or say None",
        )


def denoiser_takes_a_level_for_all_or_for_each(subject: TeacherSubject) -> None:
    """The denoiser takes one noise level as a number or one for each image, with equal images."""
    z, labels = subject.noise
    level = 0.5
    one = subject.denoise(z, level, labels)
    each = subject.denoise(z, z.new_full((len(z),), level), labels)
    if not torch.allclose(one, each, rtol=1e-4, atol=1e-5):
        raise Fault(
            "a noise level as a number and as one for each image give other images",
            "shape it by per_image(sigma, x), which takes both",
        )


def denoiser_sees_each_image_alone(subject: TeacherSubject) -> None:
    """An image is denoised alike wherever it stands in a batch, at a level of its own."""
    z, labels = subject.noise
    sigma = torch.logspace(-1, 1, len(z))
    y = z * sigma[:, None, None, None]
    order = torch.arange(len(z)).flip(0)
    expected = subject.denoise(y, sigma, labels)[order]
    found = subject.denoise(y[order], sigma[order], None if labels is None else labels[order])
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise Fault(
            "an image's denoised image depends on its place in the batch or on the other images",
            "look for batch normalisation in training mode, and for noise levels of another image",
        )


def clean_images_come_back(subject: TeacherSubject) -> None:
    """At the lowest noise level the denoiser gives back the image that it is given, but for that noise."""
    z, sigma = subject.noise[0], subject.teacher.noise.sigma_min
    x = z.clamp(-1, 1).roll(1, 0)  # whatever they show: so little noise leaves no doubt
    y = x + sigma * z
    error = (subject.denoise(y, sigma, subject.noise[1]) - x).square().mean().sqrt().item()
    if not error < 10 * sigma + 0.02:
        raise Fault(
            f"at the lowest level, {sigma}, its images differ by {error:.3g} from the clean ones",
            "look at the scaling: D(y, sigma) is the clean image, not the noise, and sigma is in units of "
            "images in [-1, 1]",
        )


def pure_noise_becomes_the_mean(subject: TeacherSubject) -> None:
    """At the highest noise level the denoiser gives finite images, near the mean of the data whatever the
    noise is.
    """
    z, _ = subject.noise
    labels = None if subject.noise[1] is None else subject.noise[1][:1].expand(len(z), -1)
    images = subject.denoise(
        subject.teacher.noise.sigma_max * z, subject.teacher.noise.sigma_max, labels
    )
    if not images.isfinite().all():
        raise Fault(
            "at the highest noise level it returns values that are not finite",
            "compute the scaling of inputs and outputs as EDMPrecond does, which is bounded",
        )
    spread, largest = images.std(0).mean().item(), images.abs().max().item()
    if spread > 0.3 or largest > 3:
        level = f"{subject.teacher.noise.sigma_max:g}"
        raise Fault(
            f"at the highest level, {level}, its images scatter by {spread:.3g} with the noise and reach "
            f"{largest:.3g}, expected the data's mean in [-1, 1]",
            "return the clean image, and state as sigma_max the highest level of the network's training",
        )


def denoiser_is_finite_over_its_levels(subject: TeacherSubject) -> None:
    """The denoiser and its derivative by the image are finite at every level from sigma_min to sigma_max."""
    z, labels = subject.noise
    noise = subject.teacher.noise
    for u in (0.0, 0.25, 0.5, 0.75, 1.0):
        sigma = noise.karras(torch.tensor(u)).item()
        y = (subject.samples + sigma * z).detach().requires_grad_(True)
        images = subject.teacher.denoiser(y, sigma, labels)
        (slope,) = torch.autograd.grad(images.sum(), y, allow_unused=True)
        if slope is None or not slope.any():
            raise Fault(
                "its images have no derivative by the noisy ones, which methods differentiate through",
                "leave torch.no_grad and detach out of the denoiser",
            )
        if not (images.isfinite().all() and slope.isfinite().all()):
            raise Fault(
                f"at the level {sigma:.3g} its images or their derivative are not finite",
                "state levels that the network knows, and look for a division by sigma",
            )


def labels_matter_where_there_are_classes(subject: TeacherSubject) -> None:
    """A teacher of classes denoises the same image otherwise for another class."""
    z, labels = subject.noise
    if labels is None:
        raise NotApplicable("it is not conditioned on classes")
    sigma = 2.0
    if torch.equal(
        subject.denoise(sigma * z, sigma, labels), subject.denoise(sigma * z, sigma, labels.roll(1, 1))
    ):
        raise Fault(
            "its images are the same for all classes",
            "pass the one-hot labels on to the network, or say label_dim = 0 in image_spec",
        )


def sampler_converges(subject: TeacherSubject) -> None:
    """More steps of its sampler change the images less and less."""
    z, labels = subject.noise
    with torch.no_grad():
        images = [subject.teacher.sample(z, labels, Sampler(steps)) for steps in (8, 16, 32)]
    first, second = ((b - a).square().mean().sqrt().item() for a, b in itertools.pairwise(images))
    if not (second < first or second < 1e-4):
        raise Fault(
            f"from 8 to 16 Heun steps its images move by {first:.3g}, from 16 to 32 by {second:.3g}",
            "look at the noise levels that the network is told, and at sigma_min and sigma_max",
        )


def samples_are_like_its_data_set(subject: TeacherSubject) -> None:
    """Its images have the mean and the deviation of its data set, and so its range, [-1, 1]."""
    images = subject.samples
    low, high = images.quantile(0.01).item(), images.quantile(0.99).item()
    if max(-low, high) > 2.5:
        raise Fault(
            f"its images go from {low:.3g} to {high:.3g}, expected [-1, 1]",
            "scale what the network makes: methods and metrics take images in [-1, 1]",
        )
    if subject.teacher.dataset is None:
        raise NotApplicable("it names no data set to compare its images with")
    try:
        dataset = find_dataset(subject.teacher.dataset)()
    except (UsageError, BenchError) as error:
        raise NotApplicable(f"its data set is not here: {error}") from None
    real = from_uint8(dataset.read(range(min(1000, len(dataset))))[0])
    gap, ratio = (images.mean() - real.mean()).item(), (images.std() / real.std()).item()
    if abs(gap) > 0.25 or not 0.5 < ratio < 2:
        ours, theirs = (f"{x.mean().item():.3g} and {x.std().item():.3g}" for x in (images, real))
        raise Doubt(
            f"mean and deviation of its images are {ours}, those of {subject.teacher.dataset!r} {theirs}",
            "look at the range: images in [0, 1] or [0, 255] have to become [-1, 1]",
        )


def copies_are_trainable_and_its_own_weights_stay(subject: TeacherSubject) -> None:
    """A trainable copy begins as the denoiser, has gradients, and shares no weight with it."""
    teacher, before = subject.teacher, subject.teacher.digest()
    z, labels = subject.noise
    copy = teacher.trainable_copy()
    with torch.no_grad():
        same = torch.allclose(copy.eval()(z, 1.0, labels), subject.denoise(z, 1.0, labels), atol=1e-5)
    if not same:
        raise Fault(
            "a copy of it makes other images", "keep everything that it computes with in the module"
        )
    if not all(p.requires_grad for p in copy.parameters()) or not any(True for _ in copy.parameters()):
        raise Fault("a copy of it has nothing to train", "keep its weights as parameters of the module")
    with torch.no_grad():
        for p in copy.parameters():
            p.add_(1.0)
    if teacher.digest() != before:
        raise Fault(
            "what is trained of a copy changes the teacher",
            "share no tensor between networks: keep weights in parameters and buffers, which are copied",
        )


def loads_the_same_each_time(subject: TeacherSubject) -> None:
    """Loaded again, it has the same weights."""
    teacher_class, source = find_teacher_class(subject.name)
    if teacher_class(None, source).digest() != subject.teacher.digest():
        raise Fault(
            "it has other weights when it is loaded again",
            "read all weights from a file, or seed what is drawn within fork_rng",
        )


GATES: tuple[Check, ...] = (loads_with_its_facts, denoiser_takes_a_level_for_all_or_for_each)
CHECKS: tuple[Check, ...] = (
    denoiser_sees_each_image_alone,
    clean_images_come_back,
    pure_noise_becomes_the_mean,
    denoiser_is_finite_over_its_levels,
    labels_matter_where_there_are_classes,
    sampler_converges,
    samples_are_like_its_data_set,
    copies_are_trainable_and_its_own_weights_stay,
    loads_the_same_each_time,
)
