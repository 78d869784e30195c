"""A method's YAML card: its citation, and each hyper-parameter with its source, in general and for each teacher."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """One value and where it comes from: paper, official code, or tuned here."""

    model_config = ConfigDict(extra="forbid")
    value: Any
    source: str


class Tuning(BaseModel):
    """How many runs were tried before these values, and how they were chosen."""

    model_config = ConfigDict(extra="forbid")
    runs: int
    note: str


class Passes(BaseModel):
    """Passes of one network over the batch for one update of the generator, as the method's paper or code takes them.

    ``input_backward`` goes through a frozen network to its input alone; ``jvp`` gives a value and a derivative at once; those
    that begin with ``encoder`` go through the encoder alone.
    """

    model_config = ConfigDict(extra="forbid")
    forward: int = 0
    backward: int = 0
    input_backward: int = 0
    jvp: int = 0
    encoder_forward: int = 0
    encoder_backward: int = 0
    encoder_input_backward: int = 0


class Card(BaseModel):
    """A method's YAML file: citation, defaults, and what differs for each teacher. ``budget`` stands among the values."""

    model_config = ConfigDict(extra="forbid")
    citation: str = ""
    bibtex: str = ""
    defaults_for: list[str] = []
    """The teachers that the defaults are the published settings of."""
    defaults: dict[str, Value] = {}
    teachers: dict[str, dict[str, Value]] = {}
    passes: dict[str, Passes] = {}
    """By network, under the default settings: what the ledger has to measure."""
    tuning: dict[str, Tuning] = {}
    """By teacher: the effort behind its values."""

    def price(self) -> str:
        """An update's nominal cost in forward passes of the network (F) and of its encoder (E), such as ``11 F + 3 E``."""
        passes = self.passes.values()
        whole = sum(p.forward + 2 * p.backward + p.input_backward + 2 * p.jvp for p in passes)
        encoder = sum(p.encoder_forward + 2 * p.encoder_backward + p.encoder_input_backward for p in passes)
        return " + ".join(f"{count} {unit}" for count, unit in ((whole, "F"), (encoder, "E")) if count)

    def values(self, teacher: str) -> dict[str, Value]:
        """Every value that holds for one teacher; ``NAME:SOURCE`` has those of NAME."""
        return {**self.defaults, **self.teachers.get(teacher.partition(":")[0], {})}
