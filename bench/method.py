"""What a distillation method is: its settings, the update steps of one training iteration, and how it generates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from bench.teacher import Teacher


class Settings(BaseModel):
    """Hyper-parameters of a method: validated, immutable; a name that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    precision: Literal["auto", "fp32", "tf32", "fp16"] = Field(
        "auto",
        description="fp32, tf32 (GPU only), or fp16 networks (GPU, sampling only); auto is fp32 on a CPU and tf32 on a GPU",
    )


class TrainingSettings(Settings):
    """What every trained method has, under one name each. Values and their sources stand in the method's YAML file."""

    batch: int = Field(gt=0, description="images per update, over all devices")
    lr: float = Field(gt=0, description="learning rate of the generator")
    lr_decay: float = Field(
        ge=0, le=1, description="last part of the budget over which learning rates fall linearly to 0; 0 is constant"
    )
    ema_halflife: float = Field(gt=0, description="half-life of the generator's weight average, in images")
    dropout: float = Field(ge=0, lt=1, description="dropout probability of the networks in training")


@dataclass(frozen=True)
class Adam:
    """How a step's network is updated: AdamW (plain Adam at ``weight_decay`` 0), after gradient sanitation."""

    lr: float
    betas: tuple[float, float] = (0.0, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """Largest L2 norm of the whole gradient; None leaves it as it is."""
    warmup_updates: int = 0
    """Updates over which the learning rate rises linearly from 0."""


@dataclass(frozen=True)
class TeacherPairs:
    """A requirement: pairs of noise and the image that the teacher's deterministic Heun sampler makes of it."""

    count: int
    steps: int


Requirement = TeacherPairs
"""What a method may need beside the frozen teacher. A method that requires nothing is data-free."""


@dataclass
class Batch:
    """The random inputs of one update. A step with ``reuse`` sees the same object as the step before it."""

    z: Tensor
    """Unit Gaussian noise, (N, C, H, W)."""
    labels: Tensor | None = None
    """One-hot class labels, (N, label_dim), or None."""
    pairs: tuple[Tensor, Tensor, Tensor | None] | None = None
    """Noise, the teacher's images of it, and their labels, for methods that require TeacherPairs."""
    memo: dict[str, Tensor] = field(default_factory=dict)
    """What one step leaves for the next step on the same batch."""
    logs: dict[str, Tensor] = field(default_factory=dict)
    """Scalars worth plotting, left on the device."""


@dataclass(frozen=True)
class Step:
    """One kind of update: which network it trains, by which loss, with which optimizer.

    ``loss`` takes a Batch and returns one value for each of its images, (N,); the engine averages them over the batch.
    During the step every other network is frozen and in evaluation mode.
    """

    role: str
    network: nn.Module
    loss: Callable[[Batch], Tensor]
    optimizer: Adam
    repeat: int = 1
    """How often the step is taken in each iteration, on a fresh batch each time."""
    reuse: bool = False
    """Take the batch of the step before instead of a fresh one."""


class Method(ABC):
    """A distillation method: networks, losses, and the map from noise to images. The engine owns all the rest.

    A trained method calls the network that makes its images ``self.generator``: that is the one whose weights are
    averaged, evaluated and saved.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ("Settings",)
    Settings: ClassVar[type[Settings]] = TrainingSettings
    trains: ClassVar[bool] = True
    """False for what only samples, such as the teacher itself: it has no steps and takes no budget."""

    generator: nn.Module

    def __init__(self, settings: Any, teacher: Teacher) -> None:
        self.settings, self.noise, self.images = settings, teacher.noise, teacher.images
        self.build(teacher)

    @classmethod
    def requires(cls, settings: Any) -> Sequence[Requirement]:
        """What the method needs beside the teacher under these settings; nothing means data-free."""
        return ()

    @property
    def nfe(self) -> int:
        """Network evaluations that ``generate`` spends on one image."""
        return 1

    @abstractmethod
    def build(self, teacher: Teacher) -> None:
        """Make the networks, usually as ``teacher.trainable_copy()``."""

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """The updates of one training iteration, in order."""

    @abstractmethod
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images in [-1, 1] from unit Gaussian noise, both (N, C, H, W).

        A generator that needs more noise on the way takes a third argument, ``draw``: a function that returns fresh unit
        Gaussian noise like ``z``. In an evaluation each image's noise comes from its own seed.
        """
