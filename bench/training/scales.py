"""The scales of losses, by which updates whose gradients are not finite are left out."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.plugin.method import Step

LEAST = 2.0**-20
"""Smallest scale of a loss before training is given up. It halves with every update that is left out; in
fp16 it begins at 2^16, elsewhere at 1.
"""


class Scales(dict[str, torch.amp.GradScaler]):
    """A scale for the loss of each step, by its role.

    In fp16 it keeps gradients in range, and grows again. Elsewhere it is there to ``skip`` alone: it
    begins at 1, halves with every update that is left out, and never grows, so that it counts them and
    changes no other update, as halving is exact. On a GPU a look at the numbers waits, and an optimizer that
    is not fused, as RAdam is, waits in each update.
    """

    def __init__(
        self, steps: Iterable[Step], device: torch.device, precision: str, *, skip: bool
    ) -> None:
        self.fp16, self.counts = precision == "fp16", skip and precision != "fp16"
        how: dict[str, Any] = (
            {} if self.fp16 else {"init_scale": 1.0, "growth_interval": 2**31 - 1, "enabled": skip}
        )
        super().__init__({step.role: torch.amp.GradScaler(device.type, **how) for step in steps})

    def scaled(self, role: str, loss: Tensor) -> Tensor:
        """Return a step's loss times its scale. To be left out, a loss that is not finite has no finite
        gradient either.
        """
        return self[role].scale(loss * (1 + 0 * loss.detach()) if self.counts else loss)

    @property
    def skipped(self) -> int:
        """Updates that were left out, where that was asked for."""
        return sum(round(-math.log2(scale.get_scale())) for scale in self.values()) if self.counts else 0

    def numbers(self) -> dict[str, float]:
        """Return what each loss is multiplied by in fp16, ``scale/ROLE``, or how many of its updates were
        left out, ``skipped/ROLE``.

        Raises BenchError for a scale that has sunk to nothing.
        """
        now = {role: scale.get_scale() for role, scale in self.items() if scale.is_enabled()}
        for role, scale in now.items():
            if scale < LEAST:
                raise BenchError(
                    f"the {role} step's gradients are not finite in fp16, whatever its loss is "
                    "scaled by; use --precision tf32."
                    if self.fp16
                    else f"more than {-math.log2(LEAST):.0f} updates of the {role} step had gradients that "
                    "are not finite; give smaller learning rates by --set, or mend the loss."
                )
        if self.fp16:
            return {f"scale/{role}": scale for role, scale in now.items()}
        return {f"skipped/{role}": -math.log2(scale) for role, scale in now.items()}

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the scales as plain data."""
        return {role: scale.state_dict() for role, scale in self.items()}

    def restore(self, state: Mapping[str, dict[str, Any]]) -> None:
        """Continue from a ``state``."""
        for role, scale in self.items():
            scale.load_state_dict(state[role])
