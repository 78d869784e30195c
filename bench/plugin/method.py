"""The contract of a distillation method: its settings, the update steps of one training iteration, and how
it generates.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn

from bench.plugin.batch import Batch
from bench.plugin.requirement import RealImages, Requirement, TeacherPairs
from bench.plugin.sampler import Draw
from bench.plugin.shapes import require_shape
from bench.plugin.teacher import Teacher
from bench.units import parse_quantity

Generate = Callable[[Tensor, Tensor | None, Draw], Tensor]
"""Noise, labels, and a function that draws more noise, to images in [-1, 1]."""


def _falling(levels: tuple[float, ...]) -> tuple[float, ...]:
    if any(level <= 0 for level in levels) or list(levels) != sorted(set(levels), reverse=True):
        raise ValueError("noise levels must be above 0 and fall, such as [5.0, 1.0]")
    return levels


FurtherLevels = Annotated[tuple[float, ...], AfterValidator(_falling)]
"""The noise levels of a few-step generator after its first, falling; none is one step."""


class Settings(BaseModel):
    """Hyper-parameters of a method: validated, immutable; a name that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    precision: Literal["auto", "fp32", "tf32", "fp16", "bf16", "bf16-forced"] = Field(
        "auto",
        description="fp32, or on a GPU tf32, or networks in fp16 or bf16; "
        "auto is fp32 on a CPU and tf32 on a GPU",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read_quantity(cls, value: Any, info: ValidationInfo) -> Any:
        """Read ``20k`` for a number as a budget does."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if kind not in (int, float, int | None, float | None) or not isinstance(value, str):
            return value
        try:
            return parse_quantity(value)
        except ValueError:
            return value  # which is refused in the words of the field


class TrainingSettings(Settings):
    """The settings of every trained method, under one name each. Values and their sources stand in the
    method's YAML file.
    """

    batch: int = Field(gt=0, description="images per update, over all devices")
    lr: float = Field(gt=0, description="learning rate of the generator")
    lr_decay: float = Field(
        ge=0,
        le=1,
        description="last part of the budget over which learning rates fall linearly to 0; 0 is constant",
    )
    ema_halflife: float = Field(
        gt=0, description="half-life of the generator's weight average, in images"
    )
    dropout: float = Field(ge=0, lt=1, description="dropout probability of the networks in training")


@dataclass(frozen=True)
class Adam:
    """The optimizer of a step's network: AdamW (plain Adam at ``weight_decay`` 0), or RAdam, after
    gradient sanitation.
    """

    lr: float
    betas: tuple[float, float] = (0.0, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """Largest L2 norm of the whole gradient; None leaves it as it is."""
    clip_value: float | None = None
    """Largest magnitude of one value of the gradient."""
    warmup_updates: int = 0
    """Updates over which the learning rate rises linearly from 0."""
    rectified: bool = False
    """RAdam (Liu et al., ICLR 2020), as consistency models are trained."""


@dataclass(frozen=True)
class Step:
    """One kind of update: which network it trains, by which loss, with which optimizer.

    ``loss`` takes a Batch and returns one value for each of its images, (N,); the trainer averages
    them over the whole batch, of which it may give the loss one part after another. What the loss draws
    for its images has them as its first dimension (``torch.randn_like(x)``, ``torch.rand(len(x))``):
    then an image has the same random numbers in any part. During the step every other network is
    frozen and in evaluation mode.
    """

    role: str
    """A word for what is trained, such as ``fake``: of its own in the method. Losses, costs and checkpoints
    go by it.
    """
    network: nn.Module
    """The network that is trained: for one of the steps ``self.generator``."""
    loss: Callable[[Batch], Tensor]
    """From a Batch to one value for each of its images, (N,), with gradient."""
    optimizer: Adam
    """How the gradient moves the weights."""
    repeat: int = 1
    """Times that the step is taken in each iteration, on a fresh batch each time."""
    reuse: bool = False
    """Take, the first time, the batch of the step before instead of a fresh one."""
    head: nn.Module | None = None
    """A small module trained along with the network: a discriminator's head, a learned weighting."""
    starts_at: int = 0
    """Images that are counted, in this stage, before the step is taken for the first time."""
    after: Callable[[], None] | None = None
    """Called after the update, without gradients: to move a target network."""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All that the step trains."""
        return (self.network,) if self.head is None else (self.network, self.head)


class Method(ABC):
    """A distillation method: networks, losses, and the map from noise to images. The trainer owns
    all the rest.

    A trained method calls the network that makes its images ``self.generator``: that is the one
    whose weights are averaged, evaluated and saved. A subclass finds on ``self``, from ``build`` on:

    - ``settings``: an instance of the class's ``Settings``, with every value chosen;
    - ``noise``: the teacher's noise levels, a NoiseLevels;
    - ``image_spec``: size and classes of the images, an ImageSpec;
    - ``name``: under which it is registered.

    What it keeps of its own there is kept in checkpoints only if it is a network of a step or of
    ``networks``: a number that training changes belongs into a buffer of one of them. Of the ``teacher``
    that ``build`` and ``prepare_training`` are given, see Teacher: its ``denoiser`` is frozen and shared,
    and ``trainable_copy(dropout)`` is what may be trained.
    """

    name: ClassVar[str] = ""
    """Under which it is registered, set by the registry."""
    Settings: ClassVar[type[Settings]] = TrainingSettings
    trains: ClassVar[bool] = True
    """False for what only samples, such as the teacher itself: it has no steps and takes no budget."""

    score_difference: ClassVar[bool] = False
    """True if its gradient is a difference of two networks' outputs, which the 8 bits of bf16
    cannot hold.
    """

    draws: ClassVar[bool] = False
    """True if ``generate`` takes a third argument, ``draw``, because it may need more noise on the way."""

    generator: nn.Module
    """The network that makes the images; ``build`` sets it."""
    settings: Any
    """The chosen values of the class's ``Settings``."""
    stages: Sequence[float] = ()
    """Parts of the budget after which a new stage begins, rising, each below 1: optimizers,
    learning rate and average anew.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "draw" in signature(cls.generate).parameters and not cls.draws:
            raise TypeError(
                f"`generate` of {cls.__name__} takes `draw`; set `draws = True`, so that it is given"
            )

    def __init__(self, settings: Any, teacher: Teacher) -> None:
        self.settings, self.noise, self.image_spec = settings, teacher.noise, teacher.image_spec
        self.build(teacher)

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        """List what the method needs beside the teacher under these settings."""
        return ()

    @classmethod
    def data_free(cls, settings: Any) -> bool:
        """True if the method needs neither pairs nor real images under these settings: it learns
        from the network alone.
        """
        return not any(
            isinstance(required, TeacherPairs | RealImages) for required in cls.requires(settings)
        )

    @property
    def nfe(self) -> int:
        """Network evaluations that ``generate`` spends on one image."""
        return 1

    def phase(self, seen: int) -> Hashable:
        """Return what the losses take from ``batch.seen`` other than through tensors, such as whether a
        term counts yet: while it stays the same an update that was recorded as a CUDA graph holds.

        None where it changes with every update, which is then never recorded.
        """
        return 0

    @property
    def together(self) -> int:
        """Images, one after another in a batch, whose losses depend on each other: a batch that is
        computed in parts is cut between such groups alone.
        """
        return 1

    @abstractmethod
    def build(self, teacher: Teacher) -> None:
        """Make the networks, usually as ``teacher.trainable_copy()``."""

    def prepare_training(self, teacher: Teacher) -> None:  # noqa: B027 - most methods have nothing to prepare
        """Load what training needs and generating does not, such as the weights of a perceptual distance.

        Called once, before the first update; what it takes is no part of an update's time.
        """

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """The updates of one training iteration, in order."""

    def networks(self) -> Mapping[str, nn.Module]:
        """Networks by name that are neither the teacher nor trained by a step: they are kept in
        checkpoints all the same.
        """
        return {}

    def begin_stage(self, stage: int, average: nn.Module) -> None:
        """Change what changes when stage 1, 2, ... begins; ``average`` is the weight average of the
        generator so far.
        """
        raise NotImplementedError(f"{type(self).__name__} has stages but no begin_stage")

    @abstractmethod
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images in [-1, 1] from unit Gaussian noise, both (N, C, H, W).

        With ``draws`` there is a third argument, ``draw``: a function that returns fresh unit
        Gaussian noise like ``z``, or None, for torch's own. In an evaluation each image's noise
        comes from its own seed.
        """

    def sample(self, z: Tensor, labels: Tensor | None = None, draw: Draw | None = None) -> Tensor:
        """The images of ``generate``, which is given ``draw`` if it takes it: what an evaluation calls.

        Raises BenchError for images of another shape than the noise.
        """
        images = self.generate(z, labels, draw) if self.draws else self.generate(z, labels)  # type: ignore[call-arg]
        whose = f"what `generate` of the method {self.name or type(self).__name__!r} returns"
        require_shape(images, z.shape, whose, "return images of the noise's shape")
        return images
