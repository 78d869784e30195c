"""Random draws under control: put to their extremes, or in another order of the images."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench.training.parts import RowsOfWhole

SHARE = {"lowest": 0.0, "highest": 1 - 2.0**-24}
"""The ends of a uniform draw in float32."""
DEVIATIONS = {"lowest": -5.0, "highest": 5.0}
"""What a normal draw may be among some millions."""


class ExtremeDraws(TorchFunctionMode):
    """Puts what is drawn as one number for each image to the ``lowest`` or ``highest`` that it can be.

    Such numbers are noise levels and choices of a step; noise of the images' shape is left as it is.
    """

    def __init__(self, images: int, end: str) -> None:
        super().__init__()
        self.images, self.end = images, end

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        drawn = function(*args, **(kwargs or {}))
        if function in _DRAWS and drawn.ndim and drawn.numel() == len(drawn) == self.images:
            drawn.fill_(self._extreme(function, args, kwargs or {}))
        return drawn

    def _extreme(self, function: Any, args: Any, kwargs: Any) -> float:
        if function in (torch.randint, torch.randint_like):
            numbers = [a for a in args if isinstance(a, int)]
            high = kwargs.get("high", numbers[-1] if numbers else 1)
            low = kwargs.get("low", numbers[0] if len(numbers) > 1 else 0)
            return float(low if self.end == "lowest" else high - 1)
        return (DEVIATIONS if function in _NORMAL else SHARE)[self.end]


_NORMAL = {torch.randn, torch.randn_like, Tensor.normal_}
_DRAWS = {*_NORMAL, torch.rand, torch.rand_like, torch.randint, torch.randint_like, Tensor.uniform_}


class ReorderedDraws(RowsOfWhole):
    """Gives each image of a batch the random numbers that it had before the batch was put into this order."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__(range(len(order)), len(order))
        self.order = list(order)

    def _own(self, whole: Tensor) -> Tensor:
        return whole[self.order]
