"""Choose a method's hyper-parameters for a teacher from its card, which sources every value."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import UsageError, explain, unknown
from bench.plugin.method import Method, Settings
from bench.runs.card import BY_CODE, Card, read_card


@dataclass(frozen=True)
class Hyperparameters:
    """The validated settings of a run, the default budget, and the source of every value."""

    settings: Settings
    budget: str | None
    sources: dict[str, str]
    tuning: dict[str, Any]
    """The effort behind the values for this teacher, as the card states it."""
    note: str
    """A remark for the user before a long run; empty if there is none."""


def card_file(method: type[Method]) -> Path:
    """Return the path of the YAML file that lies beside the method's module and has its name."""
    return Path(inspect.getfile(method)).with_suffix(".yaml")


def card(method: type[Method]) -> Card:
    """Read the method's card, empty if it has no file.

    Raises BenchError for a file that is not a card.
    """
    file = card_file(method)
    contents = read_card(file)
    known = {*method.Settings.model_fields, "budget"}
    for name in (name for values in (contents.defaults, *contents.teachers.values()) for name in values):
        if name not in known:
            raise unknown(f"setting in {file}:", name, known)
    return contents


def choose_settings(method: type[Method], teacher: str, overrides: Mapping[str, Any]) -> Hyperparameters:
    """Choose the settings of a method for a teacher: class defaults, then the card, then ``overrides``.

    Raises UsageError for a setting that does not exist, and for a value that is missing, of the
    wrong type, or out of range.
    """
    name, fields = method.name, method.Settings.model_fields
    for setting in overrides:
        if setting not in fields:
            raise unknown(f"setting of method {name!r}:", setting, fields)
    data = card(method)
    values = data.values(teacher)
    budget = values.pop("budget", None)
    sources = dict.fromkeys(fields, BY_CODE) | {k: v.source for k, v in values.items()}
    missing = [
        f for f, info in fields.items() if info.is_required() and f not in values and f not in overrides
    ]
    if missing:
        raise UsageError(
            f"method {name!r} has no value for {', '.join(missing)} on {teacher!r}; give each with "
            f"--set NAME=VALUE, or put defaults into {card_file(method).name} beside its source."
        )
    note = ""
    if (
        method.trains
        and values
        and teacher.partition(":")[0] not in {*data.teachers, *data.defaults_for}
    ):
        whose = f", those for {' and '.join(data.defaults_for)}" if data.defaults_for else ""
        note = (
            f"{name} has no settings of its own for {teacher}; these are its defaults{whose} "
            f"(`bench show method {name}`)"
        )
    try:
        settings = method.Settings.model_validate(
            {k: v.value for k, v in values.items()} | dict(overrides)
        )
    except ValidationError as error:
        raise UsageError(
            f"method {name!r}: {explain(error)}; `bench show method {name} --teacher {teacher}` "
            "lists the settings."
        ) from error
    return Hyperparameters(
        settings,
        budget=budget.value if budget else None,
        sources=sources | dict.fromkeys(overrides, "given"),
        tuning=data.tuning[teacher].model_dump() if teacher in data.tuning else {},
        note=note,
    )
