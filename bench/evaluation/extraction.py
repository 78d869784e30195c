"""One pass over images, generated or real: every extractor sees each once, and accumulators keep
what metrics need.

Several processes may share the pass; what each has kept is added up at its end.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bench import distributed
from bench.environment import all_threads, without_tf32
from bench.errors import BenchError
from bench.evaluation.sampling import FEWEST
from bench.plugin.accumulators import Accumulator, Gather, Statistics
from bench.plugin.extractor import FeatureExtractor, Features
from bench.plugin.shapes import require_shape


class FeatureStatistics(NamedTuple):
    """Which statistics of which feature: an extractor, its feature, and the kind of accumulator
    that keeps them.
    """

    extractor: str
    feature: str
    kind: Gather

    @property
    def held_out(self) -> bool:
        """True if the images are not those of the data set, but others that no training has seen."""
        return getattr(self.kind, "held_out", False)

    @property
    def key(self) -> str:
        """Name of such statistics of real images in a file: ``moments.inception.pool``."""
        return f"{getattr(self.kind, 'name', '')}.{self.extractor}.{self.feature}"


class Extraction:
    """Accumulates features of ``samples`` images, which several processes may share."""

    def __init__(
        self,
        extractors: Mapping[str, FeatureExtractor],
        needs: Collection[FeatureStatistics],
        samples: int,
    ) -> None:
        self.extractors = extractors
        self.accumulators: dict[FeatureStatistics, Accumulator] = {
            need: need.kind(samples) for need in needs
        }
        self.first_image: Tensor | None = None
        self.varied: Tensor | None = None

    def see(self, images: Tensor, first: int, count: int | None = None) -> None:
        """Take in uint8 images (N, C, H, W), the first of which has the number ``first``; only
        ``count`` of them count.
        """
        count = len(images) if count is None else count
        padded = images[torch.arange(max(len(images), FEWEST), device=images.device) % len(images)]
        with (
            torch.no_grad(),
            without_tf32(),
            all_threads(any(e.large for e in self.extractors.values())),
        ):
            features = {name: extractor(padded) for name, extractor in self.extractors.items()}
            for need, accumulator in self.accumulators.items():
                found = checked_feature(
                    need.extractor, features[need.extractor], need.feature, len(padded)
                )
                accumulator.update(found[:count], first)
        self.first_image = images[:1] if self.first_image is None else self.first_image
        varied = (images[:count] != self.first_image).any().reshape(1).double()
        self.varied = varied if self.varied is None else self.varied + varied

    def statistics(self) -> dict[FeatureStatistics, Statistics]:
        """Return what was kept of the images that all processes have seen. Raises BenchError if all
        are the same image.
        """
        sums = [sum_ for accumulator in self.accumulators.values() for sum_ in accumulator.sums.values()]
        distributed.all_reduce(sums if self.varied is None else [*sums, self.varied])
        if self.varied is not None and not self.varied.any():
            raise BenchError("all images are the same, so that no metric means anything.")
        return {need: accumulator.statistics() for need, accumulator in self.accumulators.items()}


def checked_feature(extractor: str, features: Features, name: str, images: int) -> Tensor:
    """One feature of a batch of images. Raises BenchError if it is not one vector for each, (N, d)."""
    whose = f"the feature {name!r} that the extractor {extractor!r} returns"
    remedy = "return features by name, each with one row for each image"
    require_shape(features.get(name), (images, "d"), whose, remedy)
    return features[name]


def tiles(samples: int, size: int) -> range:
    """Return where this process's batches of ``size`` images begin: every ``world_size``-th, the
    same on any number.
    """
    return range(distributed.rank() * size, samples, distributed.world_size() * size)
