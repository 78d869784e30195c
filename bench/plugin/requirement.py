"""What a method may need beside the frozen teacher."""

from dataclasses import dataclass

from bench.files.assets import Asset


@dataclass(frozen=True)
class TeacherPairs:
    """A requirement: pairs of noise and the image that the teacher's deterministic Heun sampler
    makes of it.
    """

    count: int
    steps: int

    def describe(self) -> str:
        return f"{self.count:,} pairs of noise and image, {self.steps} Heun steps each, made by the run"


@dataclass(frozen=True)
class RealImages:
    """A requirement: the images that the teacher was trained on, with their labels. They come as
    ``Batch.real``.
    """

    def describe(self) -> str:
        return "real images with their labels: the teacher's data set, or --data"


@dataclass(frozen=True)
class PublishedFile:
    """A requirement: a file that others publish, fetched before anything is trained;
    ``fetch(asset)`` then gives its path.
    """

    asset: Asset
    channels: int | None = None
    """Of the images that it is for, if they must be such."""

    def describe(self) -> str:
        return f"{self.asset.file}, fetched when it is needed"


@dataclass(frozen=True)
class StartingGenerator:
    """A requirement: the generator that another run made, or that its authors released; what it
    cost is counted where known.
    """

    source: str
    """A run's folder, a generator's weights file, or ``released:NAME``."""

    def describe(self) -> str:
        return f"the generator {self.source} to start from"


Requirement = TeacherPairs | RealImages | PublishedFile | StartingGenerator
"""A thing that a method may need beside the frozen teacher; ``describe`` says it to people.

Pairs and real images give a method images to learn from which were there before its training began.
A method that requires neither is data-free.
"""
