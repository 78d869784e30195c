"""The contract of a teacher: a frozen denoiser, and facts for methods and evaluations."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.files.assets import UNKNOWN, Asset
from bench.files.tensors import tensors_digest
from bench.plugin.diffusion import EDMPrecond, NoiseLevels
from bench.plugin.dropout import set_dropout
from bench.plugin.images import ImageSpec
from bench.plugin.sampler import Draw, Sampler
from bench.plugin.shapes import require_shape


@dataclass(frozen=True)
class ReportedFID:
    """A Frechet inception distance that the authors of a model report."""

    fid: float
    nfe: int
    """Network evaluations for each image."""
    source: str
    """The paper or page that states the number, and its conditions."""
    protocol: str = "edm-50k"


Augment = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps images (N, C, H, W) to augmented ones and to labels of each augmentation (N, augment_dim)."""


class Teacher(ABC):
    """A pretrained diffusion model as an EDM denoiser, ``D(x, sigma, labels, augment_labels) -> x0``.

    ``denoiser`` is that network, frozen and in evaluation mode. The facts below are class attributes, or
    properties if they are known only once the teacher is loaded.

    What stands on it beside them: ``denoiser``, called with images (N, C, H, W), one noise level for all or
    one each (N,), and one-hot labels (N, label_dim) or None, and moved by ``to``; ``trainable_copy``, as a
    method's networks begin; ``sample``, the images that it makes by itself; ``name``, ``source``, ``digest``.

    Args:
        path: a file of weights to read in place of the usual ones.
        source: for a class that stands for many models, the one to load; its name is ``NAME:SOURCE``.
    """

    name: str = ""
    """The name under which it is registered, set by the registry; with a source, ``NAME:SOURCE``."""
    REQUIRED: ClassVar[tuple[str, ...]] = ("image_spec", "noise", "sampler", "dataset", "protocol")

    image_spec: ImageSpec
    """Size of its images, and number of its classes. A property needs a setter for ``--classes``."""
    noise: NoiseLevels
    """Its noise levels: their range, the grid for sampling, and the distribution in training."""
    sampler: Sampler
    """The sampler with which it makes images by itself."""
    dataset: str | None
    """Name of the data set that it was trained on, or None if that is not known."""
    protocol: str | None
    """Id of the protocol that measures its students by default; None requires ``--protocol``."""

    assets: ClassVar[tuple[Asset, ...]] = ()
    """The files to fetch before it can be loaded, its weights first."""
    published: ClassVar[ReportedFID | None] = None
    """The FID that its authors report."""
    recipes_like: ClassVar[str] = ""
    """The name of a teacher that this one resembles: what a method's card has for that one counts for this
    one too. What differs stands in a YAML file beside the teacher's, under ``methods``."""
    takes_source: ClassVar[bool] = False
    """Whether the class stands for many models, named as ``NAME:SOURCE``."""
    known_before_loading: ClassVar[bool] = True
    """Whether the facts above are class attributes, so that a request that does not suit them is
    refused before anything is fetched."""
    augment: Augment | None = None
    """The augmentation of its training images, with labels that say what was done; None without one."""
    files: Sequence[Path] = ()
    """The files that were read, except ``path`` and files that this project ships."""
    note: str = ""
    """A remark for the user about the weights that were read."""
    untrained: bool = False
    """True for a network of the same architecture in place of weights that a dry run does not fetch."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        late = [name for name in cls.REQUIRED if isinstance(getattr(cls, name, None), property)]
        if late and cls.known_before_loading:
            raise TypeError(
                f"{cls.__name__} learns its {late[0]} by loading; say known_before_loading = False"
            )

    denoiser: nn.Module
    """The network that ``load`` returned, frozen and in evaluation mode: no method may change it."""

    def __init__(self, path: Path | None = None, source: str = "") -> None:
        self.source = source
        self.name = f"{type(self).name}:{source}" if source else type(self).name or type(self).__name__
        self.denoiser = self.load(path).eval().requires_grad_(False)

    @abstractmethod
    def load(self, path: Path | None) -> nn.Module:
        """Load the denoiser from ``path``, or from the teacher's usual place if it is None.

        In a dry run ``at_hand(asset)`` may be None: the denoiser is then built ``untrained``, if its
        architecture is known. Raises UsageError for a file that does not fit.
        """

    def draw_classes(self, count: int) -> None:
        """Draw the first ``count`` classes alone, where the network knows more. Raises UsageError for a
        number that it does not have.
        """
        spec = self.image_spec.of_classes(count, self.name)
        try:
            self.image_spec = spec
        except AttributeError:
            raise UsageError(
                f"the teacher {self.name!r} has an image_spec that cannot be set, which --classes needs; "
                "give that property a setter."
            ) from None

    def trainable_copy(self, dropout: float = 0.0) -> nn.Module:
        """Return a trainable copy of the denoiser, with this dropout probability."""
        network = copy.deepcopy(self.denoiser).requires_grad_(True)
        set_dropout(network, dropout)
        return network

    def sample(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        sampler: Sampler | None = None,
        draw: Draw | None = None,
    ) -> Tensor:
        """Sample images in [-1, 1] from unit Gaussian noise, both (N, C, H, W); see ``sampler``.

        Raises BenchError for a denoiser that returns images of another shape than it is given.
        """
        images = (sampler or self.sampler)(self.denoiser, z, self.noise, labels, draw)
        whose = f"what the denoiser of the teacher {self.name!r} returns"
        require_shape(images, z.shape, whose, "return clean images of the noisy ones' shape")
        return images

    def use_half(self, half_type: torch.dtype) -> None:
        """Compute the network in this type from now on; weights and all else stay in float32.

        Trainable copies follow. Raises UsageError for a denoiser that is not an EDMPrecond, since its
        network may not support the type.
        """
        if not isinstance(self.denoiser, EDMPrecond):
            raise UsageError("this teacher's network does not compute in 16 bits; use --precision auto.")
        self.denoiser.half_type = half_type
        self.denoiser.to(memory_format=torch.channels_last)  # as tensor cores read it

    def to(self, device: torch.device) -> Self:
        """Move the denoiser to ``device``."""
        self.denoiser.to(device)
        return self

    def digest(self) -> str:
        """Return the SHA-256 of the denoiser: of the names, shapes and bytes of all its tensors.

        It is not known of weights that a dry run does not fetch.
        """
        return UNKNOWN if self.untrained else tensors_digest(self.denoiser.state_dict())
