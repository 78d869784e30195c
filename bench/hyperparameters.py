"""Hyper-parameters as data: a method's YAML file gives each value with its source, in general and for each teacher."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import BenchError, UsageError, unknown
from bench.method import Method, Settings


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


@dataclass(frozen=True)
class Hyperparameters:
    """What a run will use: validated settings, the default budget, and the source of every value."""

    settings: Settings
    budget: str | None
    sources: dict[str, str]
    tuning: dict[str, Any]
    note: str
    """What a person should know before a long run, or nothing."""


def card_file(method: type[Method]) -> Path:
    """The YAML file that lies beside the method's module and has its name."""
    return Path(inspect.getfile(method)).with_suffix(".yaml")


def card(method: type[Method]) -> Card:
    """The method's card; an empty one if it has no file. Raises BenchError for a file that is not a card."""
    file = card_file(method)
    if not file.exists():
        return Card()
    try:
        found = Card.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, ValidationError) as error:
        raise BenchError(f"the hyper-parameter file {file} is not valid: {one_sentence(error)}") from error
    known = {*method.Settings.model_fields, "budget"}
    for name in (name for values in (found.defaults, *found.teachers.values()) for name in values):
        if name not in known:
            raise unknown(f"setting in {file}:", name, known)
    return found


def resolve(name: str, method: type[Method], teacher: str, overrides: Mapping[str, Any]) -> Hyperparameters:
    """The settings of ``method`` for ``teacher``: class defaults, then the card, then ``overrides``.

    Raises UsageError for a setting that does not exist, and for a value out of range, of the wrong type, or missing.
    """
    fields = method.Settings.model_fields
    for setting in overrides:
        if setting not in fields:
            raise unknown(f"setting of method {name!r}:", setting, fields)
    data = card(method)
    values = data.values(teacher)
    budget = values.pop("budget", None)
    sources = dict.fromkeys(fields, "default in the code") | {k: v.source for k, v in values.items()}
    missing = [f for f, info in fields.items() if info.is_required() and f not in values and f not in overrides]
    if missing:
        raise UsageError(
            f"method {name!r} has no value for {', '.join(missing)} on {teacher!r}; give each with --set NAME=VALUE, or put "
            f"defaults into {card_file(method).name} beside its source."
        )
    note = ""
    if method.trains and values and teacher.partition(":")[0] not in {*data.teachers, *data.defaults_for}:
        whose = f", those for {' and '.join(data.defaults_for)}" if data.defaults_for else ""
        note = f"{name} has no settings of its own for {teacher}; these are its defaults{whose} (`bench show method {name}`)"
    try:
        settings = method.Settings.model_validate({k: v.value for k, v in values.items()} | dict(overrides))
    except ValidationError as error:
        raise UsageError(
            f"method {name!r}: {one_sentence(error)}; `bench show method {name} --teacher {teacher}` lists the settings."
        ) from error
    tuning = data.tuning[teacher].model_dump() if teacher in data.tuning else {}
    return Hyperparameters(settings, budget.value if budget else None, sources | dict.fromkeys(overrides, "given"), tuning, note)


def one_sentence(error: Exception) -> str:
    """A validation or YAML error on one line: where, what was given, what was expected."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    expected = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where} has no value"
    if not first["loc"]:  # of several values together
        return expected
    return f"{where} = {first['input']!r} is not valid ({expected[0].lower()}{expected[1:]})"
