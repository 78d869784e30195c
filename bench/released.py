"""Generators that the authors of a method released: students to be sampled and measured again under one protocol."""

from __future__ import annotations

from dataclasses import dataclass

from bench.assets import Asset
from bench.teacher import Published


@dataclass(frozen=True)
class Released:
    """A published one-step or few-step generator with the network of its teacher."""

    teacher: str
    """Whose network, images and protocol are its own."""
    method: str
    weights: Asset
    sigmas: tuple[float, ...]
    """Noise levels at which it is called, in order, in image units; one for a one-step generator."""
    published: Published | None = None
    """What its authors measured, where that is known of this very file."""

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The files that it needs."""
        return (self.weights,)
