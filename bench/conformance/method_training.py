"""Facts about the training of a method, each looked at over a few updates."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.conformance.finding import Doubt, Fault, NotApplicable
from bench.conformance.method_subject import CARD, MethodSubject, in_double, to_double
from bench.conformance.ranks import weights_of_two_processes
from bench.errors import UsageError
from bench.evaluation.sampling import seeded_noise
from bench.files.tensors import load_tensors, save_tensors
from bench.plugin.method import Method
from bench.training.trainer import Trainer

UPDATES = 4
LOOKS = (16, 32, 64, 128, 256)
"""Updates after which it is seen whether a method has improved on its beginning."""
IMPROVED = 0.95
"""The part of the first distance below which a later one is better."""
TRIED = ("gaussian", "edm-digits")
"""Teachers on which a method should learn."""


def trains(subject: MethodSubject) -> None:
    """Some iterations of all steps go through, and every loss is finite."""
    trainer = subject.trainer()
    for _ in range(UPDATES):
        trainer.iteration()
    trainer.curve_values()


def teacher_is_never_changed(subject: MethodSubject) -> None:
    """Training leaves the teacher's weights and buffers as they were, frozen and in evaluation mode."""
    trainer = subject.trainer(late=True)
    denoiser, before = trainer.teacher.denoiser, trainer.teacher.digest()
    for _ in range(UPDATES):
        trainer.iteration()
    if any(step.network is denoiser for step in trainer.steps):
        raise Fault(
            "a step trains the teacher's own network",
            "begin from teacher.trainable_copy(), and leave teacher.denoiser as it is",
        )
    if trainer.teacher.digest() != before:
        raise Fault(
            f"the teacher's weights have changed after {UPDATES} updates",
            "train a teacher.trainable_copy(), and write to nothing of teacher.denoiser",
        )
    if denoiser.training or any(p.requires_grad for p in denoiser.parameters()):
        raise Fault(
            "the teacher's network is left in training mode or with requires_grad",
            "leave both as they are, or set them back",
        )


def same_seed_gives_the_same_weights(subject: MethodSubject) -> None:
    """Two trainings from one seed end with the same weights and make the same images."""
    late = _begins_late(subject)
    first, second = (_trained(subject.trainer(late=late, dropout=0.1)) for _ in range(2))
    _require_equal(
        first,
        second,
        "two trainings from one seed end with other weights",
        "draw all random numbers from torch's global generator (torch.randn, torch.rand), not from numpy, "
        "random, or a generator of your own, and depend on no clock and no order of a set",
    )


def continuing_is_the_same_as_never_stopping(subject: MethodSubject) -> None:
    """A training that is saved to a file and continued from it ends with the same weights, to the bit."""
    late = _begins_late(subject)
    options: dict[str, Any] = {"late": late, "updates": 2 * UPDATES, "dropout": 0.1}
    straight = _trained(subject.trainer(**options), 2 * UPDATES)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        save_tensors(file, *_trained(subject.trainer(**options)).state())
        continued = subject.trainer(**options)
        continued.restore(*load_tensors(file))
    _require_equal(
        _trained(continued),
        straight,
        "a training that was stopped and continued ends with other weights than one that was not",
        "keep what training changes in a network of a step or of networks(), in a buffer if it is a number; "
        "what else stands on self is not in a checkpoint",
    )


def parts_of_a_batch_agree_with_the_whole(subject: MethodSubject) -> None:
    """A batch in two parts (`--batch-gpu`) gives the weights that it gives at once, but for rounding."""
    subject.require_training()
    with in_double():
        method = subject.make()
        batch = 2 * max(8, method.together)
        whole = _trained(to_double(subject.trainer(late=True, batch=batch)))
        parts = _trained(to_double(subject.trainer(late=True, batch_gpu=batch // 2, batch=batch)))
        _require_near(_weights(parts), _weights(whole), "a batch that is computed in two parts")


def two_processes_agree_with_one(subject: MethodSubject) -> None:
    """Two processes that share the batch (`--gpus 2`) end with the weights of one, but for rounding."""
    subject.require_training()
    with in_double():
        one = _trained(to_double(subject.trainer(late=True, batch=2 * max(8, subject.make().together))))
    together = weights_of_two_processes(subject)
    _require_near(together, _weights(one), "a batch that two processes share")


def improves_on_its_beginning(subject: MethodSubject) -> None:
    """A few hundred updates bring the generator's images nearer to the teacher's than they were at first."""
    subject.require_training()
    refusals, tried = [], 0
    for name in TRIED:
        try:
            trainer = subject.trainer(name, updates=LOOKS[-1], **_quickly(subject, name))
        except UsageError as error:  # a method that cannot learn from this teacher says so
            refusals.append(str(error))
            continue
        tried += 1
        _require_improvement(trainer, name)
    if not tried:
        raise NotApplicable(f"it takes neither teacher: {refusals[0]}")


def _begins_late(subject: MethodSubject) -> bool:
    """Whether a step of the method is taken only after some images, and not in a few updates."""
    return any(step.starts_at for step in subject.trainer().steps)


def _quickly(subject: MethodSubject, teacher: str) -> dict[str, Any]:
    """Settings of so short a training. Adam moves a weight by the learning rate an update, and the closed
    form has but two weights, which have a long way where the generator is called at the highest level.
    """
    known = teacher == CARD or subject.knows(teacher)
    far = {} if known else {"lr": 3e-2, "fake_lr": 3e-2, "lr_decay": 0.0}
    return {"batch": 64, "warmup_updates": 0} | far


def _require_improvement(trainer: Trainer, name: str) -> None:
    z, labels = seeded_noise(range(256), trainer.teacher.image_spec)
    real = _moments(trainer.teacher.sample(z, labels))
    first = distance_of(trainer.method, real)
    spread = real[1].square().sum().item()
    if first < 0.05 * spread:
        return  # such as a student of many steps, which begins as the teacher
    after = first
    for look in LOOKS:
        while trainer.ledger.updates < look and trainer.fraction < 1:
            trainer.iteration()
        after = distance_of(trainer.method, real)
        if after < IMPROVED * first:
            return
    raise Doubt(
        f"on {name}, {LOOKS[-1]} updates of 64 images took the distance of the images' mean and deviation "
        f"from the teacher's from {first:.3g} to {after:.3g}, which is no improvement",
        "try another lr by --set; if the method needs longer, `bench run` shows whether it learns",
    )


def distance_of(method: Method, real: tuple[Tensor, Tensor]) -> float:
    """The squared distance of mean and deviation of each pixel, of 256 images, from those of real ones: the
    Frechet distance of independent Gaussian pixels.
    """
    z, labels = seeded_noise(range(1000, 1256), method.image_spec)
    with torch.no_grad():
        torch.manual_seed(0)
        mean, deviation = _moments(method.sample(z, labels))
    return ((mean - real[0]).square() + (deviation - real[1]).square()).sum().item()


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.mean(0), images.std(0)


def _trained(trainer: Trainer, updates: int = UPDATES) -> Trainer:
    for _ in range(updates):
        trainer.iteration()
    return trainer


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    return dict(trainer.method.generator.state_dict())


def _require_equal(found: Trainer, wanted: Trainer, reason: str, remedy: str) -> None:
    (ours, _), (theirs, _) = found.state(), wanted.state()
    ours, theirs = ({k: t for k, t in s.items() if k[:6] != "random"} for s in (ours, theirs))
    different = [k for k, t in ours.items() if k not in theirs or not torch.equal(t, theirs[k])]
    if different:
        raise Fault(f"{reason} (of {different[0]})", remedy)
    z, labels = seeded_noise(range(8), wanted.method.image_spec)
    images = []
    for trainer in (found, wanted):
        torch.manual_seed(0)
        with torch.no_grad():
            images.append(trainer.method.sample(z, labels))
    if not torch.equal(*images):
        raise Fault(f"{reason.partition(' end')[0]} make other images", remedy)


def _require_near(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in theirs.items():
        if not torch.allclose(ours[name].double(), tensor.double(), rtol=1e-5, atol=1e-7):
            gap = (ours[name] - tensor).abs().max().item()
            raise Fault(
                f"{what} gives other weights than one that is computed at once ({name} by {gap:.2g})",
                "draw for each image along the first dimension, and take means over images by batch.whole",
            )
