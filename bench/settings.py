"""Hyper-parameters as data: a method's YAML file gives each value with its source, in general and for each teacher."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, UsageError, explain, unknown
from bench.files.yaml_files import read_yaml
from bench.plugin.method import Method, Settings
from bench.runs.card import Card


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
        found = Card.model_validate(read_yaml(file, installed=True) or {})
    except ValidationError as error:
        raise BenchError(f"the hyper-parameter file {file} is not valid: {explain(error)}.") from error
    except ValueError as error:
        raise BenchError(f"the hyper-parameter file {file} is not YAML: {error}.") from error
    known = {*method.Settings.model_fields, "budget"}
    for name in (name for values in (found.defaults, *found.teachers.values()) for name in values):
        if name not in known:
            raise unknown(f"setting in {file}:", name, known)
    return found


def choose_settings(method: type[Method], teacher: str, overrides: Mapping[str, Any]) -> Hyperparameters:
    """Choose the settings of ``method`` for the teacher of this name: class defaults, then the card, then ``overrides``.

    Raises UsageError for a setting that does not exist, and for a value out of range, of the wrong type, or missing.
    """
    name, fields = method.name, method.Settings.model_fields
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
            f"method {name!r}: {explain(error)}; `bench show method {name} --teacher {teacher}` lists the settings."
        ) from error
    tuning = data.tuning[teacher].model_dump() if teacher in data.tuning else {}
    return Hyperparameters(settings, budget.value if budget else None, sources | dict.fromkeys(overrides, "given"), tuning, note)
