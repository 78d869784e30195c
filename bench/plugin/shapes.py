"""The shapes of what plugins return: a wrong one is named with plugin, field, and the shape wanted."""

from collections.abc import Sequence

from torch import Tensor

from bench.errors import BenchError

Shape = Sequence[int | str]
"""Lengths of the dimensions; a letter stands for any length."""


def require_shape(value: object, shape: Shape, what: str, remedy: str) -> None:
    """Raise BenchError, with ``remedy``, unless ``value`` is a tensor of this shape. ``what`` names it by
    its plugin and field.
    """
    lengths = value.shape if isinstance(value, Tensor) else None
    if lengths is None or len(lengths) != len(shape):
        fits = False
    else:
        fits = all(isinstance(want, str) or a == want for a, want in zip(lengths, shape, strict=True))
    if not fits:
        raise BenchError(f"{what} is {described(value)}, expected {_of_shape(shape)}; {remedy}.")


def described(value: object) -> str:
    """Describe a value by its shape, if it is a tensor, or else by its type."""
    return _of_shape(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _of_shape(shape: Shape) -> str:
    if not len(shape):
        return "a tensor with one value and no dimension"
    return f"a tensor of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
