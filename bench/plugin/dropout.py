"""Dropout by one random number an image, so that an image's mask is the same in whatever parts a batch is
computed.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Self

import torch
from torch import Tensor, nn

_ROUNDS = ((16, -2048144789), (13, -1028477387))
"""Shifts and factors of MurmurHash3's finalizer (Appleby, 2011), which mixes 32 bits."""


class Dropout(nn.Dropout):
    """torch's dropout, with another way to its random numbers.

    An image (N, ...) draws one number; the hash of this number and of a unit's place decides about the
    unit.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return torch.where(_kept(x, self.p), x / (1 - self.p), 0.0)


class SameUnits(AbstractContextManager["SameUnits"]):
    """Passes of a network that drop the same units: those within this context, again and again.

    same = SameUnits()
    with same:
        image = student(y, sigma)
    with same, torch.no_grad():
        target = student(y_next, sigma_next)

    Within another context it takes the numbers of that one.
    """

    def __init__(self) -> None:
        self.seeds: list[Tensor] = []
        self._again: Iterator[Tensor] | None = None
        self._around: SameUnits | None = None

    def __enter__(self) -> Self:
        self._again = iter(self.seeds) if self.seeds else None
        self._around = _same.get()
        self._token = _same.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _same.reset(self._token)

    def next_seeds(self, x: Tensor) -> Tensor:
        """Return the numbers of the layer that is reached: drawn in the first pass, the same in others."""
        if self._again is not None:
            return next(self._again)
        self.seeds.append(_drawn(x) if self._around is None else self._around.next_seeds(x))
        return self.seeds[-1]


_same: ContextVar[SameUnits | None] = ContextVar("same", default=None)


def _drawn(x: Tensor) -> Tensor:
    return torch.randint(-(2**31), 2**31, (len(x),), dtype=torch.int32, device=x.device)


@torch.no_grad()
def _kept(x: Tensor, p: float) -> Tensor:
    """Draw which units of each image of ``x`` are kept, like ``x``, each with probability ``1 - p``."""
    same = _same.get()
    seeds = _drawn(x) if same is None else same.next_seeds(x)
    bits = torch.arange(x[0].numel(), dtype=torch.int32, device=x.device) ^ seeds[:, None]
    for shift, factor in _ROUNDS:
        # The shift of a signed number copies its sign, which is masked.
        bits ^= (bits >> shift) & ((1 << (32 - shift)) - 1)
        bits *= factor
    bits ^= bits >> 16  # 31 random bits
    return (bits >= int(p * 2**31)).reshape(x.shape)


def set_dropout(network: nn.Module, probability: float) -> None:
    """Set the probability of all layers called ``dropout``, which drop in training mode.

    These are the layers of residual blocks. Those of attention have other names and stay as they
    are.
    """
    for module in network.modules():
        if isinstance(getattr(module, "dropout", None), nn.Dropout):
            module.dropout = Dropout(probability).train(module.training)
