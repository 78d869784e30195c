"""The YAML card beside a method or a teacher: hyper-parameters, each with its source, and a citation."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from bench.errors import BenchError, explain
from bench.files.documents import read_yaml
from bench.runs.search import Range

BY_CODE = "default in the code"
"""The source of a value that no card and no person gives."""


class Value(BaseModel, extra="forbid"):
    """A hyper-parameter's value and where it comes from: paper, official code, or tuned here."""

    value: Any
    source: str


class Tuning(BaseModel, extra="forbid"):
    """The effort behind a teacher's values: how many runs were tried, and how values were chosen."""

    runs: int
    note: str
    flops: float | None = Field(default=None, ge=0)
    """Operations of all those runs; None if unknown."""


class Passes(BaseModel, extra="forbid"):
    """Passes of one network over the batch for one update of the generator.

    They are counted as in the method's paper or official code. ``input_backward`` goes through a frozen
    network to its input alone; ``jvp`` gives a value and a derivative at once; those that begin with
    ``encoder`` go through the encoder alone.
    """

    forward: int = 0
    backward: int = 0
    input_backward: int = 0
    jvp: int = 0
    encoder_forward: int = 0
    encoder_backward: int = 0
    encoder_input_backward: int = 0


class Card(BaseModel, extra="forbid"):
    """The YAML file of a method: its citation, its default values, and those that differ for some teachers;
    or of a teacher: the values that differ for some methods.

    The default budget stands among the values, under the name ``budget``.
    """

    citation: str = ""
    bibtex: str = ""
    defaults_for: list[str] = []
    """The teachers that the defaults are the published settings of."""
    defaults: dict[str, Value] = {}
    teachers: dict[str, dict[str, Value]] = {}
    passes: dict[str, Passes] = {}
    """By network, under the default settings; the ledger has to measure as many."""
    tuning: dict[str, Tuning] = {}
    """By teacher: the effort behind its values."""
    search: dict[str, dict[str, Range]] = {}
    """By teacher: the ranges in which settings are looked for, with published values inside."""
    scaled: list[str] = []
    """Settings counted in images or updates of a whole run, such as a warm-up: a trial at a part of the
    budget has the same part of them. ``ema_halflife`` is one of every method.
    """
    methods: dict[str, dict[str, Value]] = {}
    """Of a teacher, by method: its values for this teacher; under ``all``, those of every method that has
    such a setting.
    """

    def price(self) -> str:
        """Return an update's nominal cost, such as ``11 F + 3 E``.

        F is a forward pass of the network and E one of its encoder; a backward pass and a ``jvp`` count
        twice.
        """
        passes = self.passes.values()
        whole = sum(p.forward + 2 * p.backward + p.input_backward + 2 * p.jvp for p in passes)
        encoder = sum(
            p.encoder_forward + 2 * p.encoder_backward + p.encoder_input_backward for p in passes
        )
        return " + ".join(f"{count} {unit}" for count, unit in ((whole, "F"), (encoder, "E")) if count)


def read_card(file: Path) -> Card:
    """Read a card; an absent file is an empty card.

    Raises BenchError for a file that is not a card.
    """
    if not file.is_file():
        return Card()
    try:
        return Card.model_validate(read_yaml(file, installed=True) or {})
    except ValidationError as error:
        raise BenchError(f"the hyper-parameter file {file} is not valid: {explain(error)}.") from error
    except ValueError as error:
        raise BenchError(f"the hyper-parameter file {file} is not YAML: {error}.") from error
