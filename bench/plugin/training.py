"""The contract of a network that this project trains itself, and its training, update by update."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Measured = dict[str, float]
"""Measurements of trained weights, for their description."""


class Training:
    """A training of a network by one loss, which can be left after any update and gone on with.

    All that an update depends on is in ``state`` and in torch's random state: continuing from both gives
    the same weights, on a CPU to the bit, as never having stopped.

    Args:
        network: the network to train, on its device.
        optimizer: of its parameters.
        loss: draws a batch and returns the loss of the network, a number.
        batch: images of an update.
        images: images in all; the last update may go beyond.
        rate: the learning rate after so many images.
        decay: that of a weight average over updates, which is then what is trained; early on it is smaller.
            None for no average.
        measure: measures the trained weights.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss: Callable[[], Tensor],
        *,
        batch: int,
        images: int,
        rate: Callable[[int], float],
        decay: float | None = None,
        measure: Callable[[nn.Module], Measured] = lambda network: {},
    ) -> None:
        self.network, self.optimizer, self.loss = network, optimizer, loss
        self.batch, self.images, self.rate = batch, images, rate
        self.decay, self.measure = decay, measure
        self.average = copy.deepcopy(network).requires_grad_(False) if decay is not None else network
        self.update, self.last_loss = 0, torch.zeros(())

    @property
    def seen(self) -> int:
        """Images seen so far."""
        return self.update * self.batch

    @property
    def is_done(self) -> bool:
        """True once all images have been seen."""
        return self.seen >= self.images

    def step(self) -> None:
        """Take one update, and move the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.seen)
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.decay is not None:
            with torch.no_grad():
                decay = min(self.decay, (self.update + 1) / (self.update + 10))
                averaged, trained = self.average.parameters(), self.network.parameters()
                torch._foreach_lerp_(list(averaged), list(trained), 1 - decay)
        self.last_loss = loss.detach()
        self.update += 1

    def state(self) -> dict[str, Tensor]:
        """Return all that the next updates depend on, but for torch's random state."""
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"average.{name}": t for name, t in self.average.state_dict().items()}
        for index, kept in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(t) for name, t in kept.items()}
        return tensors | {"update": torch.tensor(self.update), "last_loss": self.last_loss}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a ``state``."""
        for part, module in (("network.", self.network), ("average.", self.average)):
            own = {n.removeprefix(part): t for n, t in tensors.items() if n.startswith(part)}
            module.load_state_dict(own)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        kept: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                like = parameters[int(index)]  # also in the order of its numbers in memory
                whole = tensor.shape == like.shape
                value = torch.empty_like(like, requires_grad=False).copy_(tensor) if whole else tensor
                kept.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": kept})
        self.update, self.last_loss = int(tensors["update"]), tensors["last_loss"]

    def result(self) -> tuple[dict[str, Tensor], Measured]:
        """Return the trained weights by name, and measurements of them."""
        return self.average.state_dict(), self.measure(self.average) | {
            "last_loss": self.last_loss.item()
        }


class Trainable(ABC):
    """A network whose weights this project ships, and which ``bench train`` can train again."""

    training_images: ClassVar[int]
    """Number of training images behind the shipped weights."""
    shipped: ClassVar[Path]
    """The file of the shipped weights."""

    @classmethod
    @abstractmethod
    def train(
        cls, images: int, seed: int, report: Callable[[int, float], None]
    ) -> tuple[dict[str, Tensor], Measured]:
        """Train from a random start on ``images`` images; return the weights by name, and measurements.

        ``report(images_seen, loss)`` is called now and then. The same arguments on the same machine
        give the same weights, to the bit.
        """


class Resumable(Trainable):
    """A network whose training takes longer than a minute, so that it may be left and gone on with."""

    @classmethod
    @abstractmethod
    def training(cls, images: int, device: torch.device) -> Training:
        """Begin a training from a random start on ``images`` images; its docstring says how it is done.

        Randomness comes from torch's global generators alone, so that the same seed on the same machine
        gives the same weights, on a CPU to the bit.
        """

    @classmethod
    def train(
        cls, images: int, seed: int, report: Callable[[int, float], None]
    ) -> tuple[dict[str, Tensor], Measured]:
        torch.manual_seed(seed)
        training = cls.training(images, torch.device("cpu"))
        while not training.is_done:
            training.step()
            if training.update % 100 == 1:
                report(training.seen, training.last_loss.item())
        return training.result()
