"""Facts about a method's networks, images and losses, each looked at on one batch."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.conformance.draws import ExtremeDraws, ReorderedDraws
from bench.conformance.finding import Doubt, Fault, NotApplicable
from bench.conformance.method_subject import (
    BATCH,
    CARD,
    MethodSubject,
    in_double,
    losses_of,
    networks_of,
    to_double,
)
from bench.conformance.toy import ToyNetwork
from bench.errors import BenchError
from bench.evaluation.sampling import seeded_noise
from bench.factory import find_teacher_class
from bench.plugin.batch import Batch
from bench.plugin.diffusion import EDMPrecond
from bench.plugin.method import Method
from bench.plugin.requirement import RealImages, TeacherPairs
from bench.settings import card
from bench.training.cost import measure
from bench.training.trainer import Trainer

LARGEST = 3.0
"""Largest magnitude that values of an untrained generator's images in [-1, 1] may have."""
DATA: Mapping[str, tuple[type, str]] = {
    "pairs": (TeacherPairs, "(TeacherPairs(count, steps),)"),
    "real": (RealImages, "(RealImages(),)"),
}
"""Fields of a batch that a method has to require, by what, and how it says so."""


def builds_on_a_teacher(subject: MethodSubject) -> None:
    """The method is registered, has a value for every setting, and builds its networks."""
    method = subject.make()
    if not isinstance(getattr(method, "generator", None), torch.nn.Module):
        raise Fault(
            "build leaves self.generator without a network",
            "set it in build, as self.generator = teacher.trainable_copy()",
        )


def requires_the_data_that_its_losses_read(subject: MethodSubject) -> None:
    """The losses read pairs and real images only if `requires` names them, and what it names they read."""
    trainer = subject.trainer(late=True)
    required = {type(r) for r in subject.method.requires(trainer.method.settings)}
    plain, read = trainer._fresh_batch(), set[str]()
    batch = _Watched(**vars(plain))
    try:
        for step in trainer.steps:
            if not step.reuse:
                batch = _Watched(**vars(plain) | {"memo": {}})
            batch.read = read
            trainer._freeze_all_but(step)
            step.loss(batch)
    except BenchError:
        return  # a fault of another kind, which is looked at next
    except (TypeError, AttributeError) as error:
        if "NoneType" not in str(error):  # which comes of data that is not there
            raise
        for field in read:
            kind, words = DATA[field]
            if kind not in required:
                raise Fault(
                    f"a loss reads batch.{field}, which `requires` does not name, so that it is None "
                    f"({type(error).__name__}: {error})",
                    f"return {words} from the classmethod `requires`",
                ) from error
        raise
    for field, (kind, _) in DATA.items():
        if kind in required and field not in read:
            raise Doubt(
                f"`requires` names {kind.__name__}, and no loss reads batch.{field}",
                "leave it out: with it the method does not count as data-free",
            )


def losses_are_one_value_for_each_image(subject: MethodSubject) -> None:
    """Every loss returns one value for each image of its batch, (N,), with gradient."""
    trainer = subject.trainer(late=True)
    for step, _, values in losses_of(trainer, trainer._fresh_batch()):
        if not values.requires_grad:
            raise Fault(
                f"the loss of the {step.role} step does not depend on what it trains",
                "compute it from the step's network, outside torch.no_grad",
            )


def logs_are_single_numbers(subject: MethodSubject) -> None:
    """What the losses log is one number for each name, a tensor without dimensions."""
    trainer = subject.trainer(late=True)
    batch = trainer._fresh_batch()
    for step, given, values in losses_of(trainer, batch):
        trainer.losses.note(step.role, values.detach().mean(), [given], len(batch.z))


def images_are_of_the_noises_shape_and_range(subject: MethodSubject) -> None:
    """`generate` makes finite images of the noise's shape, in [-1, 1] and not in another range."""
    method = subject.make(find_teacher_class(CARD)[0]())
    z, labels = _noise(method)
    with torch.no_grad():
        images = method.sample(z, labels)
    if not images.isfinite().all():
        raise Fault(
            f"`generate` returns NaN or infinite values from the network of {CARD} as it is",
            "look for a division by zero or an overflow in it",
        )
    low, high = images.min().item(), images.max().item()
    convert = "images are in [-1, 1] throughout the suite; return the network's as they are"
    if max(-low, high) > LARGEST:
        raise Fault(f"`generate` returns values from {low:.3g} to {high:.3g}, expected [-1, 1]", convert)
    if low >= 0:
        raise Fault(
            f"`generate` returns no value below 0 (from {low:.3g} to {high:.3g}), expected [-1, 1]",
            convert,
        )


def generator_sees_its_labels(subject: MethodSubject) -> None:
    """Of a teacher with classes, the same noise with another label is another image."""
    method = subject.make()
    z, labels = _noise(method)
    assert labels is not None
    with torch.no_grad():
        torch.manual_seed(0)
        images = method.sample(z, labels)
        torch.manual_seed(0)
        others = method.sample(z, labels.roll(1, dims=1))
    if torch.equal(images, others):
        raise Fault(
            "the images of other labels are the same",
            "pass `labels` on to the generator in `generate`: self.generator(x, sigma, labels)",
        )


def losses_see_their_labels(subject: MethodSubject) -> None:
    """Of a teacher with classes, every loss gives the labels of its images to every network that it calls."""
    trainer = subject.warmed()
    batch = trainer._fresh_batch()
    parts = [
        (role, part)
        for role, network in trainer.roles.items()
        for part in network.modules()
        if isinstance(part, ToyNetwork)
    ]
    before = {}
    for _, part in parts:
        part.unlabelled = False
    for step, _, values in losses_of(trainer, batch):
        before[step.role] = values.detach()
        for role in (role for role, part in parts if part.unlabelled):
            raise Fault(
                f"the loss of the {step.role} step calls the {role} without labels",
                "pass batch.labels, or those of the pairs or real images, to every network that it calls",
            )

    def others(labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.roll(1, dims=1)

    pairs = batch.pairs and (*batch.pairs[:2], others(batch.pairs[2]))
    real = batch.real and (batch.real[0], others(batch.real[1]))
    changed = dataclasses.replace(batch, labels=others(batch.labels), pairs=pairs, real=real)
    for step, _, values in losses_of(trainer, changed):
        if torch.equal(values.detach(), before[step.role]):
            raise Fault(
                f"the loss of the {step.role} step is the same for other labels",
                "pass batch.labels, or those of the pairs or real images, to every network that it calls",
            )


def nfe_is_the_number_of_evaluations(subject: MethodSubject) -> None:
    """`nfe` is the number of network evaluations that `generate` spends on an image."""
    method = subject.make()
    z, labels = _noise(method)
    networks = {"generator": method.generator}
    if not subject.method.trains:
        networks = {k: v for k, v in vars(method).items() if isinstance(v, torch.nn.Module)}
        networks |= {k: v.denoiser for k, v in vars(method).items() if hasattr(v, "denoiser")}
        networks = {str(id(v)): v for v in networks.values()}

    def sample() -> None:
        with torch.no_grad():
            method.sample(z, labels)

    passes = measure(sample, networks).evaluations.values()
    spent = sum(forward for forward, _ in passes) / len(z)
    if spent != method.nfe:
        raise Fault(
            f"`nfe` says {method.nfe}, and `generate` spends {spent:g} evaluations of a network on an image",
            f"return {math.ceil(spent)} from the property `nfe`, which tables and figures show",
        )


def passes_are_those_of_the_card(subject: MethodSubject) -> None:
    """An iteration spends as many passes of each network as the method's card states."""
    subject.require_training()
    stated = card(subject.method).passes
    if not stated:
        raise NotApplicable("the method's card states no passes")
    if subject.overrides:
        raise NotApplicable("settings are given, and the card states the passes under its own")
    trainer = subject.trainer(late=True)
    trainer.iteration()
    batch = trainer.settings.batch
    found = {role: spent.forward / batch for role, spent in trainer.ledger.evaluations.items()}
    wanted = {role: p.forward + p.jvp for role, p in stated.items() if p.forward + p.jvp}
    if found != wanted:
        raise Fault(
            f"the card states forward passes {_passes(wanted)}, an iteration spends {_passes(found)}",
            "correct `passes` in the card, or the losses",
        )


def gradients_reach_the_steps_own_networks_and_no_others(subject: MethodSubject) -> None:
    """The loss of a step sends its gradient to the network and head that the step names, and leaves none in
    any other.
    """
    trainer = subject.warmed()
    parts = trainer._in_parts(trainer._fresh_batch())
    for step in trainer.steps:
        for network in networks_of(trainer).values():
            for p in network.parameters():
                p.grad = None
        if not step.reuse:
            parts = trainer._in_parts(trainer._fresh_batch())
        trainer._charged_update(step, parts, step.role)
        own = {id(p) for module in step.modules for p in module.parameters()}
        for module in step.modules:
            if not any(p.grad is not None and p.grad.any() for p in module.parameters()):
                raise Fault(
                    f"the loss of the {step.role} step sends no gradient to the network that it trains",
                    "compute it from that network, without detach or no_grad on the way",
                )
        for name, network in networks_of(trainer).items():
            if any(p.grad is not None and id(p) not in own for p in network.parameters()):
                raise Fault(
                    f"the loss of the {step.role} step leaves a gradient in {name}, which it does not train",
                    "leave requires_grad of other networks alone, which are frozen during the step, and "
                    "freeze what no step trains by requires_grad_(False) in build",
                )


def losses_do_not_depend_on_the_order_of_the_batch(subject: MethodSubject) -> None:
    """Each image has the same loss in whatever order the batch is."""
    trainer = subject.warmed()
    with in_double():
        to_double(trainer)
        batch = trainer._fresh_batch()
        together = min(trainer.method.together, BATCH)
        order = [
            i for first in reversed(range(0, BATCH, together)) for i in range(first, first + together)
        ]
        reordered = _in_order(batch, order)
        before = {step.role: values.detach() for step, _, values in losses_of(trainer, batch)}
        for step, _, values in losses_of(trainer, reordered, ReorderedDraws(order)):
            expected = before[step.role][order]
            scale = expected.abs().max().item()
            if not torch.allclose(values, expected, rtol=1e-6, atol=1e-9 + 1e-6 * scale):
                raise Fault(
                    f"an image's loss in the {step.role} step depends on its place in the batch",
                    "compute each image's loss from its own noise and labels; where one needs others, ask "
                    "batch.whole, or name groups of images by `together`",
                )


def losses_are_finite_at_extreme_noise(subject: MethodSubject) -> None:
    """Losses and gradients are finite at the lowest and highest noise levels that a long training draws."""
    for end in ("lowest", "highest"):
        trainer = subject.warmed()
        draws = ExtremeDraws(trainer.settings.batch, end)
        _require_finite(trainer, draws, f"with the {end} noise levels that may be drawn")


def losses_are_finite_in_fp16(subject: MethodSubject) -> None:
    """Losses and gradients are finite where the networks compute in 16 bits."""
    trainer = subject.warmed()
    for network in networks_of(trainer).values():
        if isinstance(network, EDMPrecond):
            network.half_type = torch.float16
    _require_finite(trainer, None, "with networks in fp16")


def _require_finite(trainer: Trainer, draws: Any, when: str) -> None:
    for step, _, values in losses_of(trainer, trainer._fresh_batch(), draws):
        if not values.isfinite().all():
            raise Fault(
                f"{when}, the loss of the {step.role} step is {_worst(values)}",
                "bound its weight and its divisors, or compute that part in float32 from logarithms",
            )
        for module in step.modules:
            module.zero_grad(set_to_none=True)
        values.mean().backward()
        for p in (p for module in step.modules for p in module.parameters()):
            if p.grad is not None and not p.grad.isfinite().all():
                raise Fault(
                    f"{when}, the gradient of the {step.role} step is not finite, and its loss is",
                    "look for a root or a division at zero in it",
                )


def _worst(values: Tensor) -> str:
    return f"{next(v for v in values.tolist() if not math.isfinite(v))} for some images"


def _noise(method: Method) -> tuple[Tensor, Tensor | None]:
    return seeded_noise(range(BATCH), method.image_spec)


def _in_order(batch: Batch, order: list[int]) -> Batch:
    def ordered(tensors: Any) -> Any:
        return None if tensors is None else tuple(None if t is None else t[order] for t in tensors)

    z, labels = ordered((batch.z, batch.labels))
    return dataclasses.replace(
        batch, z=z, labels=labels, pairs=ordered(batch.pairs), real=ordered(batch.real)
    )


def _passes(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{role} {count:g}" for role, count in counts.items()) or "none"


class _Watched(Batch):
    """A batch that notes in ``read``, once it is set, what is read of the data that a method may require."""

    read: set[str]

    def __getattribute__(self, name: str) -> Any:
        if name in DATA and "read" in self.__dict__:
            self.read.add(name)
        return super().__getattribute__(name)
