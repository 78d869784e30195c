"""A method under examination: its trainers on the toy teacher and on others, and its losses on one batch."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import registry
from bench.conformance.finding import NotApplicable, require_at_hand
from bench.conformance.toy import IMAGES, ToyTeacher, toy_images
from bench.evaluation.sampling import seeded_noise
from bench.factory import find_teacher_class
from bench.plugin.batch import Batch
from bench.plugin.dataset import find_dataset
from bench.plugin.method import Method, Settings, Step
from bench.plugin.requirement import PublishedFile, RealImages, TeacherPairs
from bench.plugin.teacher import Teacher
from bench.runs.budget import Budget
from bench.settings import choose_settings, recommended
from bench.training.execution import Execution
from bench.training.pairs import PairStream
from bench.training.real_images import RealStream
from bench.training.steps import checked_loss
from bench.training.trainer import Trainer

CPU = torch.device("cpu")
USUAL = {"lr": 1e-3, "lr_decay": 0.0, "ema_halflife": 1000.0, "dropout": 0.0}
"""Values of the settings of every trained method, where its card has none."""
CARD = "edm-digits"
"""The teacher whose settings are tried: small, and all built-in methods have some for it."""
BATCH = 16
LATE = 500_000
"""Images by which every step and every term of a loss has begun, in a training on so small a teacher."""


@dataclasses.dataclass
class MethodSubject:
    """A method by its name, with settings in place of its card's, and the plugin files that it needs."""

    name: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    @cached_property
    def method(self) -> type[Method]:
        """The class."""
        return registry.methods.get(self.name)

    def settings(self, teacher: str = CARD, **small: Any) -> Settings:
        """The card's values for a teacher or else usual ones, under ``small`` ones, under the overrides."""
        fields, known = self.method.Settings.model_fields, recommended(self.method, teacher).values
        usual = {k: v for k, v in (USUAL | {"batch": BATCH}).items() if k in fields and k not in known}
        own = {k: v for k, v in small.items() if k in fields}
        return choose_settings(self.method, teacher, usual | own | dict(self.overrides)).settings

    def knows(self, teacher: str) -> bool:
        """Whether the method's card has settings of its own for a registered teacher."""
        registered = teacher in registry.teachers.entries()
        return registered and recommended(self.method, teacher).suited

    def require_training(self) -> None:
        """Raise NotApplicable for a method that only samples."""
        if not self.method.trains:
            raise NotApplicable("the method does not train")

    def make(self, teacher: Teacher | None = None, **small: Any) -> Method:
        """Build the method on the toy teacher or another."""
        torch.manual_seed(0)
        teacher = teacher or ToyTeacher()
        name = teacher.name if self.knows(teacher.name) else CARD
        return self.method(self.settings(name, **small), teacher)

    def trainer(
        self,
        teacher: str = "",
        *,
        late: bool = False,
        batch_gpu: int | None = None,
        updates: int = 1000,
        seed: int = 0,
        **small: Any,
    ) -> Trainer:
        """Make a trainer on the toy teacher, or on a registered one, of a budget in updates.

        Of a ``late`` one the last stage and all steps and terms have begun.
        """
        self.require_training()
        made: Teacher = find_teacher_class(teacher)[0]() if teacher else ToyTeacher()
        method = self.make(made, **({"batch": BATCH} | small))
        needs = {type(r): r for r in self.method.requires(method.settings)}
        files = [n.asset for n in self.method.requires(method.settings) if isinstance(n, PublishedFile)]
        require_at_hand(files, f"method:{self.name}")
        pairs = real = None
        if TeacherPairs in needs:
            z, labels = seeded_noise(range(IMAGES), made.image_spec)
            images = made.sample(z, labels).to(z.dtype) if teacher else z.flip(0).clamp(-1, 1)
            pairs = PairStream(z, images, labels, flops=0, seconds=0.0)
        if RealImages in needs:
            images_of = find_dataset(str(made.dataset))() if teacher else toy_images()
            real = RealStream(images_of, made.image_spec, 0, CPU)
        torch.manual_seed(seed)
        trainer = Trainer(
            method, made, Budget("updates", updates), CPU, pairs, real, Execution(batch_gpu)
        )
        if late:
            for _ in range(len(method.stages)):
                trainer._begin_next_stage()
            trainer.stage_began -= LATE
        return trainer

    def warmed(self, **options: Any) -> Trainer:
        """A late trainer after three iterations, when networks that began as copies differ."""
        trainer = self.trainer(late=True, warmup_updates=0, **options)
        for _ in range(3):
            trainer.iteration()
        return trainer


@contextmanager
def in_double() -> Iterator[None]:
    """Compute in float64, where rounding hides no fault."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def to_double(trainer: Trainer) -> Trainer:
    """Turn every network and all images of a trainer into float64."""
    for module in networks_of(trainer).values():
        module.double()
    trainer.average.double()
    if trainer.pairs is not None:
        trainer.pairs.z, trainer.pairs.images = trainer.pairs.z.double(), trainer.pairs.images.double()
    if trainer.real is not None:
        sample = trainer.real.sample

        def in_float64(*asked: Any) -> tuple[Tensor, Tensor | None]:
            images, labels = sample(*asked)
            return images.double(), labels

        trainer.real.sample = in_float64  # type: ignore[assignment,method-assign]
    return trainer


def networks_of(trainer: Trainer) -> dict[str, nn.Module]:
    """Every network that a training could touch, by a name that its author knows: the teacher's, those of the
    steps, and all that stand on the method.
    """
    found = {f"self.{k}": v for k, v in vars(trainer.method).items() if isinstance(v, nn.Module)}
    found |= {f"networks()[{k!r}]": v for k, v in trainer.method.networks().items()}
    found |= {f"the network of step {step.role!r}": step.network for step in trainer.steps}
    found |= {
        f"the head of step {step.role!r}": step.head for step in trainer.steps if step.head is not None
    }
    named: dict[int, tuple[str, nn.Module]] = {id(v): (k, v) for k, v in reversed(found.items())}
    named[id(trainer.teacher.denoiser)] = ("the teacher's denoiser", trainer.teacher.denoiser)
    return dict(named.values())


def losses_of(
    trainer: Trainer, batch: Batch, draws: AbstractContextManager[Any] | None = None
) -> Iterator[tuple[Step, Batch, Tensor]]:
    """Compute every step's loss on one batch with the same random numbers each time, and change no weight.

    A step that reuses a batch gets that of the step before, the others a copy with nothing remembered.
    """
    given = batch
    for step in trainer.steps:
        if not step.reuse:
            given = dataclasses.replace(batch, memo={}, logs={})
        trainer._freeze_all_but(step)
        torch.manual_seed(1)
        with draws or nullcontext():
            values = checked_loss(step, given, trainer.method)
        yield step, given, values
