"""The facts that a feature extractor keeps, each looked at on a few images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import registry
from bench.conformance.finding import Check, Fault, require_at_hand
from bench.evaluation.extraction import checked_feature
from bench.plugin.extractor import FeatureExtractor, Features
from bench.plugin.images import ImageSpec

IMAGES = 8


@dataclass
class ExtractorSubject:
    """A feature extractor by its name, and images that it takes."""

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The extractor. Raises Fault if its weights are not here."""
        return self.make()

    def make(self) -> FeatureExtractor:
        """Make it anew."""
        extractor = registry.extractors.get(self.name)
        require_at_hand(extractor.assets, f"extractor:{self.name}")
        return extractor()

    @cached_property
    def images(self) -> Tensor:
        """Uint8 images (N, C, H, W): noise, black, and white."""
        spec = self.extractor.image_spec or ImageSpec((*self.extractor.channels, 3)[0], 32)
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (IMAGES, *spec.shape), dtype=torch.uint8, generator=generator)
        images[0], images[1] = 0, 255
        return images

    def features(self, images: Tensor) -> Features:
        """The declared features of images, each looked at for its shape."""
        with torch.no_grad():
            found = self.extractor(images.clone())
        return {
            name: checked_feature(self.name, found, name, len(images))
            for name in self.extractor.features
        }


def features_are_as_declared(subject: ExtractorSubject) -> None:
    """From uint8 images it computes every feature that it declares, (N, d) in float32, finite."""
    for name, values in subject.features(subject.images).items():
        if values.dtype != torch.float32:
            raise Fault(
                f"its feature {name!r} is of {values.dtype}, expected torch.float32", "return .float()"
            )
        if not values.isfinite().all():
            raise Fault(
                f"its feature {name!r} is not finite", "look at a division by the deviation of one image"
            )


def images_are_told_apart(subject: ExtractorSubject) -> None:
    """Other images have other features."""
    for name, values in subject.features(subject.images).items():
        if torch.equal(values[0], values[1]):
            raise Fault(
                f"its feature {name!r} is the same of a black image and of a white one",
                "take the pixels from 0 to 255 as they are given, and normalise them once for all images",
            )


def each_image_has_its_own_features(subject: ExtractorSubject) -> None:
    """An image has the same features in whatever batch and place it stands."""
    whole = subject.features(subject.images)
    order = torch.arange(IMAGES).flip(0)
    reordered, few = subject.features(subject.images[order]), subject.features(subject.images[:3])
    for name, values in whole.items():
        scale = 1e-4 * values.abs().max().item()
        for found, expected in ((reordered[name], values[order]), (few[name], values[:3])):
            if not torch.allclose(found, expected, rtol=1e-3, atol=scale):
                raise Fault(
                    f"its feature {name!r} of an image depends on the other images of the batch",
                    "normalise by constants, not by the batch, and call the network in evaluation mode",
                )


def features_are_the_same_each_time(subject: ExtractorSubject) -> None:
    """The same images have the same features, again and of an extractor that is made anew."""
    first = subject.features(subject.images)
    again = subject.features(subject.images)
    anew = ExtractorSubject(subject.name)
    other = anew.features(subject.images)
    for name, values in first.items():
        if not (torch.equal(values, again[name]) and torch.equal(values, other[name])):
            raise Fault(
                f"its feature {name!r} of the same images differs from one time to another",
                "read its weights from a file or seed them, and call the network in evaluation mode",
            )
    if not (digest := subject.extractor.digest()) or digest != anew.extractor.digest():
        raise Fault(
            "its digest differs from one time to another, or is empty",
            "return tensors_digest(network.state_dict()), or a constant if it has no weights",
        )


def images_are_left_as_they_were(subject: ExtractorSubject) -> None:
    """It does not write to the images that it is given, which other extractors see too."""
    images = subject.images.clone()
    with torch.no_grad():
        subject.extractor(images)
    if not torch.equal(images, subject.images):
        raise Fault(
            "it writes to the images that it is given", "begin with a copy: from_uint8(images) is one"
        )


def network_is_frozen(subject: ExtractorSubject) -> None:
    """Its networks are in evaluation mode, and nothing of them is trained."""
    for name, value in vars(subject.extractor).items():
        if isinstance(value, nn.Module) and (
            value.training or any(p.requires_grad for p in value.parameters())
        ):
            raise Fault(
                f"its network {name!r} is in training mode or requires gradients",
                f"call self.{name}.eval().requires_grad_(False)",
            )


GATES: tuple[Check, ...] = (features_are_as_declared,)
CHECKS: tuple[Check, ...] = (
    images_are_told_apart,
    each_image_has_its_own_features,
    features_are_the_same_each_time,
    images_are_left_as_they_were,
    network_is_frozen,
)
