"""The one training loop: batches, freezing, gradient sanitation, optimizers, weight average, and the ledger of what it costs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bench.budget import Budget, Ledger, UpdateCost, measure
from bench.diffusion import ema_decay
from bench.errors import BenchError
from bench.method import Batch, Method, Step, TrainingSettings
from bench.pairs import PairStream
from bench.teacher import Teacher


class Trainer:
    """Trains one method: ``iteration`` takes each of its steps once and charges the ledger.

    All randomness of training comes from torch's global generators, whose state is part of ``state``: continuing from it
    gives the same weights, to the bit on a CPU, as never having stopped.
    """

    def __init__(
        self, method: Method, teacher: Teacher, budget: Budget, device: torch.device, pairs: PairStream | None = None
    ) -> None:
        settings = method.settings
        assert isinstance(settings, TrainingSettings)
        self.method, self.settings, self.images, self.budget = method, settings, teacher.images, budget
        self.device, self.pairs, self.ledger = device, pairs, Ledger()
        self.steps = _checked(method)
        for step in self.steps:
            step.network.to(device)
        self.roles = {"teacher": teacher.denoiser} | {step.role: step.network for step in self.steps}
        self.optimizers = {step.role: _optimizer(step) for step in self.steps}
        self.average = AveragedModel(method.generator, multi_avg_fn=self._average).requires_grad_(False).eval()
        self.costs: dict[str, UpdateCost] = {}
        self.losses: dict[str, Tensor] = {}
        self.batch: Batch | None = None
        if pairs is not None:
            self.ledger.charge_one_off(pairs.flops, pairs.seconds)

    @property
    def fraction(self) -> float:
        """How much of the budget is spent, from 0; reaches 1 at the end."""
        return self.ledger.spent(self.budget.axis) / self.budget.amount

    def averaged(self) -> Method:
        """The method with the weight average as its generator, for evaluation."""
        method = copy.copy(self.method)
        method.generator = self.average.module
        return method

    def iteration(self) -> None:
        """Every step of the method, in order, as often as it asks."""
        for step in self.steps:
            for _ in range(step.repeat):
                if not step.reuse:
                    self.batch = self._fresh_batch()
                assert self.batch is not None
                self._charged_update(step, self.batch)
                if step.network is self.method.generator:
                    self.average.update_parameters(step.network)
                    self.ledger.images += self.settings.batch
                    self.ledger.updates += 1

    def _fresh_batch(self) -> Batch:
        n, classes = self.settings.batch, self.images.label_dim
        z = torch.randn(n, *self.images.shape, device=self.device)
        labels = None
        if classes:
            labels = nn.functional.one_hot(torch.randint(classes, (n,), device=self.device), classes).to(z.dtype)
        return Batch(z, labels, self.pairs.draw(n) if self.pairs is not None else None)

    def _charged_update(self, step: Step, batch: Batch) -> None:
        """One update. The first of each kind is measured; the others are taken to cost the same."""
        if step.role in self.costs:
            self._update(step, batch)
        else:
            self.costs[step.role] = measure(lambda: self._update(step, batch), self.roles)
        self.ledger.charge(self.costs[step.role])

    def _update(self, step: Step, batch: Batch) -> None:
        for other in self.steps:
            if other.network is not step.network:
                other.network.requires_grad_(False).eval()
        step.network.requires_grad_(True).train()
        optimizer = self.optimizers[step.role]
        optimizer.zero_grad(set_to_none=True)
        loss = step.loss(batch).sum() / len(batch.z)
        loss.backward()
        gradients = [p.grad for p in step.network.parameters() if p.grad is not None]
        for gradient in gradients:  # as in EDM: an overflow loses its value, not the run
            torch.nan_to_num_(gradient, nan=0.0, posinf=1e5, neginf=-1e5)
        if step.optimizer.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(
                step.network.parameters(), step.optimizer.clip_norm, nn.utils.get_total_norm(gradients)
            )
        optimizer.param_groups[0]["lr"] = self._learning_rate(step)
        optimizer.step()
        self.losses[f"loss/{step.role}"] = loss.detach()
        self.losses |= batch.logs

    def _learning_rate(self, step: Step) -> float:
        rate = step.optimizer.lr
        if step.optimizer.warmup_updates:
            rate *= min(1.0, (self.ledger.updates + 1) / step.optimizer.warmup_updates)
        if self.settings.lr_decay:
            rate *= min(1.0, (1 - min(self.fraction, 1.0)) / self.settings.lr_decay)
        return rate

    def _average(self, average: Any, current: Any, _updates: Any) -> None:
        decay = ema_decay(self.ledger.images, self.settings.batch, self.settings.ema_halflife)
        torch._foreach_lerp_(average, current, 1 - decay)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next iteration depends on: named tensors, and the ledger as plain data."""
        tensors = {f"average.{k}": t for k, t in self.average.state_dict().items()}
        for step in self.steps:
            tensors |= {f"network.{step.role}.{k}": t for k, t in step.network.state_dict().items()}
            for index, values in self.optimizers[step.role].state_dict()["state"].items():
                tensors |= {f"optimizer.{step.role}.{index}.{k}": t for k, t in values.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors, {"ledger": self.ledger.as_dict(), "costs": {role: asdict(cost) for role, cost in self.costs.items()}}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""
        self.average.load_state_dict(_below("average", tensors))
        for step in self.steps:
            step.network.load_state_dict(_below(f"network.{step.role}", tensors))
            optimizer, values = self.optimizers[step.role], _below(f"optimizer.{step.role}", tensors)
            indices = {int(name.partition(".")[0]) for name in values}
            saved = {i: _below(str(i), values) for i in sorted(indices)}
            optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.ledger = Ledger(**meta["ledger"])
        self.costs = {
            role: UpdateCost(cost["flops"], {r: (f, b) for r, (f, b) in cost["evaluations"].items()})
            for role, cost in meta["costs"].items()
        }


def _checked(method: Method) -> list[Step]:
    """The method's steps. Raises BenchError for steps that could not be told apart or that would never end a budget."""
    steps, name = list(method.steps()), type(method).__name__
    roles = [step.role for step in steps]
    if len(set(roles)) < len(roles):
        raise BenchError(f"{name} has several steps of one role ({', '.join(roles)}); give each step a role of its own.")
    if not any(step.network is method.generator for step in steps):
        raise BenchError(f"no step of {name} trains its generator; one step's network must be self.generator.")
    if steps[0].reuse or any(step.reuse and step.repeat > 1 for step in steps):
        raise BenchError(
            f"a step of {name} reuses a batch that is not there: the first step, or one that repeats, needs its own."
        )
    return steps


def _optimizer(step: Step) -> torch.optim.Optimizer:
    o = step.optimizer
    return torch.optim.AdamW(step.network.parameters(), o.lr, betas=o.betas, eps=o.eps, weight_decay=o.weight_decay, fused=True)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
