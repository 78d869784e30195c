"""A batch in parts: each process has an equal share of it, and computes as many images at once as its device
holds.

Gradients are sums over images, so that parts change nothing but their rounding, as long as an image has
the same random numbers in every part. So each part begins from the same random state, and what is drawn
for its images is drawn for the whole batch, of which it keeps its own rows.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bench import distributed
from bench.errors import BenchError, UsageError


def share_of(batch: int) -> range:
    """Return the images of a batch that this process computes."""
    count = batch // distributed.world_size()
    return range(distributed.rank() * count, (distributed.rank() + 1) * count)


def parts_of(batch: int, at_once: int | None, together: int = 1) -> list[range]:
    """Cut this process's share of a batch into parts of at most ``at_once`` images, all if it is None.

    Groups of ``together`` images stay whole. Raises UsageError where that cannot be.
    """
    processes, together = distributed.world_size(), min(together, batch)
    if batch % processes or (processes > 1 and batch // processes % together):
        groups = "" if together == 1 else f" in groups of {together} that depend on each other"
        raise UsageError(
            f"a batch of {batch} images{groups} does not divide among {processes} processes; start "
            "another number of them, or give another --set batch=N."
        )
    share = share_of(batch)
    at_once = len(share) if at_once is None else at_once - at_once % together
    if not at_once:
        raise UsageError(
            f"the losses of {together} images depend on each other, more than --batch-gpu allows; give "
            f"--batch-gpu {together} or more, or fewer such images by --set."
        )
    return [range(first, min(first + at_once, share.stop)) for first in share[::at_once]]


@contextmanager
def randomness_of(
    rows: range | None, batch: int, device: torch.device, *, moves_on: bool
) -> Iterator[None]:
    """Draw for these images what they would have in the whole batch, which None is.

    The random state is as before afterwards, unless it ``moves_on`` and all went well.
    """
    if rows is None:
        yield
        return
    before, rewind = random_state(device), True
    try:
        with RowsOfWhole(rows, batch):
            yield
        rewind = not moves_on
    finally:
        if rewind:
            set_random_state(before, device)


def values_of_whole(shares: list[Tensor]) -> list[float]:
    """Return numbers that are sums over a batch, of which each process has that over its own images."""
    if not shares:
        return []
    values = torch.stack([share.double() for share in shares])
    distributed.all_reduce([values])
    return [float(value) for value in values.tolist()]


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's global generators, of the CPU and of ``device``."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put torch's global generators into a ``random_state``."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class RowsOfWhole(TorchFunctionMode):
    """Makes torch's random functions draw for a whole batch, and return the rows of a part of it.

    A draw is the part's if its first dimension is as long as the part, and if it comes from torch's
    global generator.
    """

    def __init__(self, rows: range, batch: int) -> None:
        super().__init__()
        self.rows, self.batch = rows, batch

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not None:
            return function(*args, **kwargs)
        if function in _UNKNOWN and not (function is F.dropout and not _drops(*args, **kwargs)):
            raise BenchError(
                f"a loss draws by {function.__name__}, of which a part of a batch cannot have its rows; use "
                "torch.rand, randn or randint, or leave --batch-gpu and several processes out."
            )
        if function in _LIKE and self._is_ours(args[0].shape):
            return self._own(function(self._whole_of(args[0]), *args[1:], **kwargs))
        if function in _IN_PLACE and self._is_ours(args[0].shape):
            return args[0].copy_(self._own(function(self._whole_of(args[0]), *args[1:], **kwargs)))
        if function in _SHAPED and self._is_ours(size := _size(args, kwargs)):
            return self._own(function(*_resized(args, kwargs, (self.batch, *size[1:])), **kwargs))
        return function(*args, **kwargs)

    def _is_ours(self, size: Any) -> bool:
        return len(size) > 0 and size[0] == len(self.rows)

    def _whole_of(self, x: Tensor) -> Tensor:
        """Memory for the whole batch as ``x`` lies in it: random numbers are drawn in that order."""
        size = (self.batch, *x.shape[1:])
        return torch.empty_strided(size, x.stride(), dtype=x.dtype, device=x.device)

    def _own(self, whole: Tensor) -> Tensor:
        return whole[self.rows.start : self.rows.stop].clone()  # which lets go of the rest


_LIKE = {torch.rand_like, torch.randn_like, torch.randint_like}
_IN_PLACE = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.random_, Tensor.exponential_),
    *(Tensor.log_normal_, Tensor.cauchy_, Tensor.geometric_),
}
_SHAPED = {torch.rand, torch.randn, torch.randint}
_UNKNOWN = {
    *(torch.normal, torch.bernoulli, Tensor.bernoulli, Tensor.bernoulli_),
    *(torch.multinomial, torch.poisson, torch.randperm),
    *(F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d),
}
"""Functions that draw other than row by row, or of which nothing is known."""


def _drops(_: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> bool:
    return training and p > 0


def _size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    """Find the shape that a random function is asked for: a sequence by name or in the last place, or all
    arguments.
    """
    if "size" in kwargs:
        return tuple(kwargs["size"])
    if args and isinstance(args[-1], tuple | list):
        return tuple(args[-1])
    return args if all(isinstance(a, int) for a in args) else ()


def _resized(args: tuple[Any, ...], kwargs: dict[str, Any], size: tuple[int, ...]) -> tuple[Any, ...]:
    """Put another shape where the shape was."""
    if "size" in kwargs:
        kwargs["size"] = size
        return args
    return (*args[:-1], size) if isinstance(args[-1], tuple | list) else size
