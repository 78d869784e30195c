"""One update of a method after another: batches, freezing, gradient sanitation, optimizers, the weight
average, and the ledger of their cost.
"""

import copy
import math
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bench.errors import BenchError
from bench.plugin.diffusion import ema_decay, fork_rng
from bench.plugin.method import Adam, Batch, Method, Step, TrainingSettings
from bench.plugin.teacher import Teacher
from bench.runs.budget import Budget, Ledger, UpdateCost
from bench.training.cost import measure
from bench.training.pairs import PairStream
from bench.training.real_images import RealStream

LEAST_SCALE = 2.0**-20
"""Smallest scale of a loss in fp16 before training is given up; it begins at 2^16 and halves at
every overflow.
"""


class Trainer:
    """Trains one method: ``iteration`` takes each of its steps as often as it asks, and charges the
    ledger.

    Randomness comes from torch's global generators and, for real images, from how many batches were
    drawn; both are part of ``state``: continuing from it gives the same weights, to the bit on a
    CPU, as never having stopped.
    """

    def __init__(
        self,
        method: Method,
        teacher: Teacher,
        budget: Budget,
        device: torch.device,
        pairs: PairStream | None = None,
        real: RealStream | None = None,
    ) -> None:
        settings = method.settings
        assert isinstance(settings, TrainingSettings)
        self.method, self.settings, self.teacher, self.budget = method, settings, teacher, budget
        self.device, self.pairs, self.real, self.ledger = device, pairs, real, Ledger()
        self.stage, self.stage_began, self.stage_updates = 0, 0, 0
        self.losses: dict[str, Tensor] = {}
        self.unchecked: list[tuple[int, str, Tensor]] = []
        """Losses that nobody has looked at yet, with their updates and roles: to look makes a GPU wait."""
        with fork_rng(device):  # what a method prepares leaves the training's random numbers alone
            method.prepare_training(teacher)
        self._prepare()
        if pairs is not None:
            self.ledger.charge_one_off(pairs.flops, pairs.seconds)

    def _prepare(self) -> None:
        """Prepare the steps of the stage, each with its network on the device, its optimizer, and its cost
        still to be measured.
        """
        method = self.method
        self.steps = checked_steps(method)
        for module in (
            *method.networks().values(),
            *(module for step in self.steps for module in step.modules),
        ):
            module.to(self.device)
        self.roles = {"teacher": self.teacher.denoiser, **method.networks()} | {
            step.role: step.network for step in self.steps
        }
        self.optimizers = {step.role: _optimizer(step) for step in self.steps}
        self.scalers = {
            step.role: torch.amp.GradScaler(self.device.type, enabled=self.settings.precision == "fp16")
            for step in self.steps
        }
        self.average = (
            AveragedModel(method.generator, multi_avg_fn=self._average).requires_grad_(False).eval()
        )
        self.costs: dict[str, UpdateCost] = {}

    @property
    def fraction(self) -> float:
        """The part of the budget that is spent, from 0 to 1 at the end."""
        return self.ledger.spent(self.budget.axis) / self.budget.amount

    def averaged(self) -> Method:
        """Return the method with the weight average as its generator, for evaluation."""
        method = copy.copy(self.method)
        method.generator = self.average.module
        return method

    def iteration(self) -> None:
        """Take every step of the method, in order, as often as it asks."""
        self._enter_stage()
        batch: Batch | None = None
        for step in self.steps:
            for turn in range(step.repeat):
                fresh = turn > 0 or not step.reuse
                if fresh or batch is None:
                    batch = self._fresh_batch()
                if self.ledger.images - self.stage_began >= step.starts_at:
                    self._charged_update(step, batch, fresh)
                if step.network is self.method.generator:
                    self.average.update_parameters(step.network)
                    self.ledger.images += self.settings.batch
                    self.ledger.updates += 1

    def _enter_stage(self) -> None:
        """Begin the method's next stages if the budget spent has reached them."""
        while self.stage < bisect_right(self.method.stages, self.fraction):
            self._begin_next_stage()

    def _begin_next_stage(self) -> None:
        self.stage += 1
        self.stage_began, self.stage_updates = self.ledger.images, self.ledger.updates
        self.method.begin_stage(self.stage, self.average.module)
        self._prepare()

    def _fresh_batch(self) -> Batch:
        n, images = self.settings.batch, self.teacher.image_spec
        z = torch.randn(n, *images.shape, device=self.device)
        labels = None
        if images.label_dim:
            classes = torch.randint(images.classes, (n,), device=self.device)
            labels = nn.functional.one_hot(classes, images.label_dim).to(z.dtype)
        pairs = self.pairs.sample(n) if self.pairs is not None else None
        real = self.real.sample(n) if self.real is not None else None
        return Batch(z, labels, pairs, real, seen=self.ledger.images - self.stage_began)

    def _charged_update(self, step: Step, batch: Batch, fresh: bool) -> None:
        """Take one update; the first of each kind is measured, and the others are charged the same."""
        kind = step.role if fresh else f"{step.role} again"  # which spares it generating images
        if kind in self.costs:
            self._update(step, batch)
        else:
            self.costs[kind] = measure(lambda: self._update(step, batch), self.roles)
        self.ledger.charge(self.costs[kind])

    def _update(self, step: Step, batch: Batch) -> None:
        for module in (module for other in self.steps for module in other.modules):
            module.requires_grad_(False).eval()
        for module in step.modules:
            module.requires_grad_(True).train()
        optimizer, scaler = self.optimizers[step.role], self.scalers[step.role]
        optimizer.zero_grad(set_to_none=True)
        loss = step.loss(batch).sum() / len(batch.z)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        parameters = [p for module in step.modules for p in module.parameters() if p.grad is not None]
        _sanitise([p.grad for p in parameters if p.grad is not None], parameters, step.optimizer)
        optimizer.param_groups[0]["lr"] = self._learning_rate(step)
        scaler.step(optimizer)
        scaler.update()
        if step.after is not None:
            with torch.no_grad():
                step.after()
        self.losses[f"loss/{step.role}"] = loss.detach()
        if not scaler.is_enabled():  # which skips what is not finite
            self.unchecked.append((self.ledger.updates + 1, step.role, loss.detach()))
        self.losses |= {name: value.detach() for name, value in batch.logs.items()}

    def _learning_rate(self, step: Step) -> float:
        """The step's learning rate now: after its warm-up, and before its fall at the end of the stage."""
        rate = step.optimizer.lr
        if step.optimizer.warmup_updates:
            rate *= min(
                1.0, (self.ledger.updates - self.stage_updates + 1) / step.optimizer.warmup_updates
            )
        if self.settings.lr_decay:
            begin, end = (0.0, *self.method.stages, 1.0)[self.stage : self.stage + 2]
            rate *= min(
                1.0, (1 - min((self.fraction - begin) / (end - begin), 1.0)) / self.settings.lr_decay
            )
        return rate

    def _average(self, average: Any, current: Any, _updates: Any) -> None:
        """Move the weight average towards the current weights, lists of tensors, in place."""
        decay = ema_decay(
            self.ledger.images - self.stage_began, self.settings.batch, self.settings.ema_halflife
        )
        torch._foreach_lerp_(average, current, 1 - decay)

    def curve_values(self) -> dict[str, float]:
        """Return the losses for the training curve and, in fp16, ``scale/ROLE``: what each loss is
        multiplied by so that its gradient is in range.

        Raises BenchError for a loss that is not finite, and for a scale that has sunk to nothing,
        which means that the values themselves are not finite.
        """
        self.require_finite()
        scales = {
            role: scaler.get_scale() for role, scaler in self.scalers.items() if scaler.is_enabled()
        }
        for role, scale in scales.items():
            if scale < LEAST_SCALE:
                raise BenchError(
                    f"the {role} step's gradients are not finite in fp16, whatever its loss is "
                    "scaled by; use --precision tf32."
                )
        losses = {name: loss.item() for name, loss in self.losses.items()}
        return losses | {f"scale/{role}": scale for role, scale in scales.items()}

    def require_finite(self) -> None:
        """Raise BenchError for the first loss since the last call that is not a finite number."""
        values = torch.stack([loss for _, _, loss in self.unchecked]).tolist() if self.unchecked else []
        for (update, role, _), value in zip(self.unchecked, values, strict=True):
            if not math.isfinite(value):
                raise BenchError(
                    f"training diverged: the loss of the {role} step is {value} at update {update:,}; "
                    "give smaller learning rates by --set, or mend the loss."
                )
        self.unchecked = []

    def synchronise(self) -> None:
        """Wait for a GPU, which lags behind its launches: the wait belongs to training and not to
        what comes after it.
        """
        if self.device.type == "cuda":
            started = time.perf_counter()
            torch.cuda.synchronize(self.device)
            self.ledger.seconds += time.perf_counter() - started

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next iteration depends on: named tensors, and the ledger and counts
        as plain data.
        """
        tensors = {f"average.{k}": t for k, t in self.average.state_dict().items()}
        for name, module in self._modules().items():
            tensors |= {f"{name}.{k}": t for k, t in module.state_dict().items()}
        for role, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{role}.{index}.{k}": t for k, t in values.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors, {
            "ledger": self.ledger.model_dump(),
            "costs": {kind: asdict(cost) for kind, cost in self.costs.items()},
            "stage": self.stage,
            "stage_began": self.stage_began,
            "stage_updates": self.stage_updates,
            "real_drawn": self.real.batches_drawn if self.real is not None else 0,
            "scalers": {role: scaler.state_dict() for role, scaler in self.scalers.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""
        while self.stage < meta["stage"]:
            self._begin_next_stage()
        self.stage_began, self.stage_updates = meta["stage_began"], meta["stage_updates"]
        self.average.load_state_dict(_below("average", tensors))
        for name, module in self._modules().items():
            module.load_state_dict(_below(name, tensors))
        for role, optimizer in self.optimizers.items():
            values = _below(f"optimizer.{role}", tensors)
            indices = {int(name.partition(".")[0]) for name in values}
            saved = {i: _below(str(i), values) for i in sorted(indices)}
            optimizer.load_state_dict(
                {"state": saved, "param_groups": optimizer.state_dict()["param_groups"]}
            )
            self.scalers[role].load_state_dict(meta["scalers"][role])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        if self.real is not None:
            self.real.batches_drawn = meta["real_drawn"]
        self.ledger = Ledger(**meta["ledger"])
        self.costs = {
            kind: UpdateCost(cost["flops"], {r: (f, b) for r, (f, b) in cost["evaluations"].items()})
            for kind, cost in meta["costs"].items()
        }

    def _modules(self) -> dict[str, nn.Module]:
        """Every module whose weights change in training, by its name in a checkpoint."""
        return (
            {f"network.{step.role}": step.network for step in self.steps}
            | {f"head.{step.role}": step.head for step in self.steps if step.head is not None}
            | {f"other.{name}": network for name, network in self.method.networks().items()}
        )


def _sanitise(gradients: list[Tensor], parameters: list[nn.Parameter], how: Adam) -> None:
    """Replace what is not finite, as in EDM: an overflow loses its value, not the run. Then clip as
    the step asks.
    """
    for gradient in gradients:
        torch.nan_to_num_(gradient, nan=0.0, posinf=1e5, neginf=-1e5)
    if how.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, how.clip_value)
    if how.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, how.clip_norm, nn.utils.get_total_norm(gradients))


def checked_steps(method: Method) -> list[Step]:
    """The method's steps. Raises BenchError for steps that could not be told apart or that would
    never end a budget, and for stages that do not follow one another.
    """
    steps, name = list(method.steps()), type(method).__name__
    roles = [step.role for step in steps]
    if len(set(roles)) < len(roles):
        raise BenchError(
            f"{name} has several steps of one role ({', '.join(roles)}); give each step a role of its own."
        )
    if not any(step.network is method.generator for step in steps):
        raise BenchError(
            f"no step of {name} trains its generator; one step's network must be self.generator."
        )
    if list(method.stages) != sorted({*method.stages}) or not all(0 < end < 1 for end in method.stages):
        raise BenchError(
            f"the stages of {name} begin at {list(method.stages)} of the budget; expected rising "
            "parts between 0 and 1."
        )
    if steps[0].reuse:
        raise BenchError(f"the first step of {name} reuses a batch that is not there; it needs its own.")
    return steps


def _optimizer(step: Step) -> torch.optim.Optimizer:
    o, parameters = step.optimizer, [p for module in step.modules for p in module.parameters()]
    if o.rectified:
        return torch.optim.RAdam(
            parameters, o.lr, o.betas, o.eps, o.weight_decay, decoupled_weight_decay=True, foreach=True
        )
    return torch.optim.AdamW(
        parameters, o.lr, betas=o.betas, eps=o.eps, weight_decay=o.weight_decay, fused=True
    )


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): t
        for name, t in tensors.items()
        if name.startswith(f"{prefix}.")
    }
