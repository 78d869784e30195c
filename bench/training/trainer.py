"""One update of a method after another: batches, freezing, gradient sanitation, optimizers, the weight
average, and the ledger of their cost.
"""

import copy
import time
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from bench import distributed
from bench.plugin.batch import Batch, WholeBatchNeeded
from bench.plugin.diffusion import ema_decay, fork_rng
from bench.plugin.method import Method, Step, TrainingSettings
from bench.plugin.teacher import Teacher
from bench.runs.budget import Budget, Ledger, UpdateCost
from bench.training.capture import Graphs
from bench.training.cost import measure
from bench.training.execution import Execution
from bench.training.losses import Losses
from bench.training.pairs import PairStream
from bench.training.parts import parts_of, random_state, randomness_of, set_random_state, share_of
from bench.training.real_images import RealStream
from bench.training.recompute import recomputed
from bench.training.scales import Scales
from bench.training.steps import (
    below,
    checked_loss,
    checked_steps,
    learning_rate,
    load_optimizer,
    optimizer_of,
    require_finite_weights,
    sanitise,
    set_rate,
)


class Trainer:
    """Trains one method: ``iteration`` takes each of its steps as often as it asks, and charges the
    ledger.

    Randomness comes from torch's global generators and, for real images, from how many batches were
    drawn; both are part of ``state``: continuing from it gives the same weights, to the bit on a
    CPU, as never having stopped. Several processes have the same random state and the same weights
    throughout, and each computes its share of every batch, as the ``execution`` says.
    """

    def __init__(
        self,
        method: Method,
        teacher: Teacher,
        budget: Budget,
        device: torch.device,
        pairs: PairStream | None = None,
        real: RealStream | None = None,
        execution: Execution | None = None,
        *,
        skip: bool = False,
    ) -> None:
        settings = method.settings
        assert isinstance(settings, TrainingSettings)
        self.execution, self.skip = execution or Execution(), skip
        self.execution.require_possible(settings.batch, method.together)
        self.method, self.settings, self.teacher, self.budget = method, settings, teacher, budget
        self.device, self.pairs, self.real = device, pairs, real
        self.ledger, self.stage, self.stage_began, self.stage_updates = Ledger(), 0, 0, 0
        self.skipped_before = 0  # updates left out, in earlier stages
        self.losses = Losses(f"method {method.name or type(method).__name__!r}")
        self.asks_whole: set[str] = set()
        """Roles of the steps whose losses have asked for numbers of the whole batch."""
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
        trained = (module for step in self.steps for module in step.modules)
        for module in (*method.networks().values(), *trained):
            module.to(self.device)
        self.roles = {"teacher": self.teacher.denoiser, **method.networks()} | {
            step.role: step.network for step in self.steps
        }
        capture = self.execution.capture
        scaled = self.skip or self.settings.precision == "fp16"
        self.execution.prepare(self.roles.values(), self.steps, scaled=scaled)
        self.graphs = Graphs() if capture else None
        self.optimizers = {step.role: optimizer_of(step, capture) for step in self.steps}
        self.scales = Scales(self.steps, self.device, self.settings.precision, skip=self.skip)
        self.average = copy.deepcopy(method.generator).requires_grad_(False).eval()
        self.costs: dict[str, UpdateCost] = {}

    @property
    def fraction(self) -> float:
        """The part of the budget that is spent, from 0 to 1 at the end."""
        return self.ledger.spent(self.budget.axis) / self.budget.amount

    def averaged(self) -> Method:
        """Return the method with the weight average as its generator, for evaluation."""
        method = copy.copy(self.method)
        method.generator = self.average
        return method

    def iteration(self) -> None:
        """Take every step of the method, in order, as often as it asks."""
        self._enter_stage()
        batch: list[Batch] = []
        for step in self.steps:
            for turn in range(step.repeat):
                fresh = turn > 0 or not step.reuse
                kind = step.role if fresh else f"{step.role} again"  # which spares it generating images
                if fresh or not batch:
                    batch = self._in_parts(self._fresh_batch())
                    if self.graphs is not None:
                        batch = [self.graphs.place(kind, batch[0])]
                if self.ledger.images - self.stage_began >= step.starts_at:
                    self._charged_update(step, batch, kind)
                if step.network is self.method.generator:
                    self._move_average()
                    self.ledger.images += self.settings.batch
                    self.ledger.updates += 1

    def _enter_stage(self) -> None:
        """Begin the method's next stages if the budget spent has reached them."""
        while self.stage < bisect_right(self.method.stages, self.fraction):
            self._begin_next_stage()

    def _begin_next_stage(self) -> None:
        self.skipped_before = self.skipped
        self.stage += 1
        self.stage_began, self.stage_updates = self.ledger.images, self.ledger.updates
        self.method.begin_stage(self.stage, self.average)
        self._prepare()

    def _fresh_batch(self) -> Batch:
        """Draw the batch of the next update, and return this process's share of it."""
        n, images = self.settings.batch, self.teacher.image_spec
        share = share_of(n)
        rows = slice(share.start, share.stop)
        z = torch.randn(n, *images.shape, device=self.device)[rows]
        labels = None
        if images.label_dim:
            classes = torch.randint(images.classes, (n,), device=self.device)[rows]
            labels = nn.functional.one_hot(classes, images.label_dim).to(z.dtype)
        pairs = self.pairs.sample(n, rows) if self.pairs is not None else None
        real = self.real.sample(n, rows) if self.real is not None else None
        seen, updates = self.ledger.images - self.stage_began, self.ledger.updates - self.stage_updates
        spent = z.new_full((), min(self.fraction, 1.0))  # filled on the device: no wait for a copy
        return Batch(z, labels, pairs, real, seen, spent=spent, updates=updates, stage=self.stage)

    def _in_parts(self, share: Batch) -> list[Batch]:
        """Cut this process's share of a batch into what is computed at once."""
        parts = parts_of(self.settings.batch, self.execution.batch_gpu, self.method.together)
        whole = len(parts[0]) == self.settings.batch
        return [share] if whole else [share.part(rows, parts[0].start) for rows in parts]

    def _charged_update(self, step: Step, batch: list[Batch], kind: str) -> None:
        """Take one update; the first of each kind is measured, and the others are charged the same.

        What is computed twice so that the parts can know each other is not counted: it is no work of the
        method's.
        """
        for part in batch:
            part.gathered = None  # of an earlier step
        if step.role in self.asks_whole:
            self._gather(step, batch)
        try:
            self._measured_update(step, batch, kind)
        except WholeBatchNeeded:
            self.asks_whole.add(step.role)
            self._gather(step, batch)
            self._measured_update(step, batch, kind)
        self.ledger.charge(self.costs[kind])

    def _measured_update(self, step: Step, batch: list[Batch], kind: str) -> None:
        with recomputed(self.roles.values() if self.execution.recompute else ()):
            if kind in self.costs:
                self._update(step, batch, kind)
            else:
                with self.execution.measurable():
                    cost = measure(lambda: self._update(step, batch), self.roles)
                self.costs[kind] = cost.times(distributed.world_size())

    def _gather(self, step: Step, batch: list[Batch]) -> None:
        """Give each part the numbers of the whole batch that the step's loss asks for."""
        asked: list[tuple[Tensor, ...]] = []
        self._freeze_all_but(step)
        for part in batch:
            with self._randomness_of(part, moves_on=False), torch.no_grad():
                try:
                    step.loss(part)
                except WholeBatchNeeded as needed:
                    asked.append(needed.values)
        whole = tuple(distributed.all_gather(torch.cat(values)) for values in zip(*asked, strict=True))
        for part in batch:
            part.gathered = whole

    def _randomness_of(self, part: Batch, *, moves_on: bool) -> AbstractContextManager[None]:
        return randomness_of(part.rows, self.settings.batch, self.device, moves_on=moves_on)

    def _freeze_all_but(self, step: Step) -> None:
        for module in (module for other in self.steps for module in other.modules):
            module.requires_grad_(False).eval()
        for module in step.modules:
            module.requires_grad_(True).train()

    def _update(self, step: Step, batch: list[Batch], kind: str = "") -> None:
        """Take one update, recorded and replayed where that is asked for and its ``kind`` is given."""
        set_rate(self.optimizers[step.role], self._learning_rate(step))
        phase = self.method.phase(batch[0].seen)
        if self.graphs is not None and kind and phase is not None:
            says = type(self.method).phase is not Method.phase
            loss = self.graphs.run(
                (kind, phase), lambda: self._compute(step, batch), None if says else batch[0]
            )
        else:
            loss = self._compute(step, batch)
        self.losses.note(step.role, loss, batch, self.settings.batch)
        if not self.scales[step.role].is_enabled():  # which skips what is not finite
            self.losses.unchecked.append((self.ledger.updates + 1, step.role, loss))

    def _compute(self, step: Step, batch: list[Batch]) -> Tensor:
        """Compute the loss and its gradient, and move the weights. Return the loss."""
        self._freeze_all_but(step)
        optimizer, scaler = self.optimizers[step.role], self.scales[step.role]
        optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in batch:
            with self._randomness_of(part, moves_on=part is batch[-1]):
                loss = checked_loss(step, part, self.method).sum() / self.settings.batch
                self.scales.scaled(step.role, loss).backward()
            losses.append(loss.detach())
        parameters = [p for module in step.modules for p in module.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        distributed.all_reduce_at_once(gradients)
        scaler.unscale_(optimizer)
        sanitise(gradients, parameters, step.optimizer)
        scaler.step(optimizer)
        scaler.update()
        if step.after is not None:
            with torch.no_grad():
                step.after()
        return sum(losses[1:], losses[0])

    def _learning_rate(self, step: Step) -> float:
        begin, end = (0.0, *self.method.stages, 1.0)[self.stage : self.stage + 2]
        left = 1 - min((self.fraction - begin) / (end - begin), 1.0)
        updates = self.ledger.updates - self.stage_updates
        return learning_rate(step.optimizer, updates, left, self.settings.lr_decay)

    @torch.no_grad()
    def _move_average(self) -> None:
        """Move the weight average towards the current weights, without waiting for a GPU."""
        decay = ema_decay(
            self.ledger.images - self.stage_began, self.settings.batch, self.settings.ema_halflife
        )
        average, generator = self.average, self.method.generator
        torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - decay)
        for kept, buffer in zip(average.buffers(), generator.buffers(), strict=True):
            kept.copy_(buffer)

    def curve_values(self) -> dict[str, float]:
        """Return the losses for the training curve, and the scales in fp16 or the updates left out. Raises
        as ``require_finite`` for losses and updates.
        """
        self.losses.require_finite()
        return self.losses.numbers() | self.scales.numbers()

    @property
    def skipped(self) -> int:
        """Updates that were left out as their gradients were not finite, where that was asked for."""
        return self.skipped_before + self.scales.skipped

    def require_finite(self) -> None:
        """Raise Diverged for a loss or weight that is not finite, BenchError for many updates left out."""
        self.losses.require_finite()
        self.scales.numbers()
        require_finite_weights(self.steps, self.ledger.updates)

    def synchronise(self) -> None:
        """Wait for a GPU, which lags behind its launches: the wait belongs to training and not to
        what comes after it.
        """
        if self.device.type == "cuda":
            started = time.perf_counter()
            torch.cuda.synchronize(self.device)
            self.ledger.seconds += distributed.largest(time.perf_counter() - started)[0]

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
        tensors |= {f"random.{name}": t for name, t in random_state(self.device).items()}
        return tensors, {
            "ledger": self.ledger.model_dump(),
            "costs": {kind: asdict(cost) for kind, cost in self.costs.items()},
            "stage": self.stage,
            "stage_began": self.stage_began,
            "stage_updates": self.stage_updates,
            "skipped_before": self.skipped_before,
            "real_drawn": self.real.batches_drawn if self.real is not None else 0,
            "scalers": self.scales.state(),
        }

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""
        while self.stage < meta["stage"]:
            self._begin_next_stage()
        self.stage_began, self.stage_updates = meta["stage_began"], meta["stage_updates"]
        self.skipped_before = meta.get("skipped_before", 0)
        self.average.load_state_dict(below("average", tensors))
        for name, module in self._modules().items():
            module.load_state_dict(below(name, tensors))
        for role, optimizer in self.optimizers.items():
            load_optimizer(optimizer, below(f"optimizer.{role}", tensors))
        self.scales.restore(meta["scalers"])
        set_random_state(below("random", tensors), self.device)
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
