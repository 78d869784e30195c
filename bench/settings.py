"""Choose a method's hyper-parameters for a teacher from the cards of both, which source every value."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.errors import UsageError, explain, unknown
from bench.plugin.method import Method, Settings
from bench.runs.card import BY_CODE, Card, Value, read_card
from bench.runs.search import Range, Space, multiplied

SHORT = "seconds=300"
"""Budget of a method whose own is meant for other teachers than the one at hand: it ends in minutes."""


@dataclass(frozen=True)
class Hyperparameters:
    """The validated settings of a run, its budget, and the source of every value."""

    settings: Settings
    budget: str | None
    """None if none is given and no card has one."""
    sources: dict[str, str]
    tuning: dict[str, Any]
    """The effort behind the values for this teacher, as the card states it."""
    note: str
    """A remark for the user before a long run; empty if there is none."""


@dataclass(frozen=True)
class Recommended:
    """The values that the cards have for a method on a teacher, the budget among them."""

    values: dict[str, Value]
    suited: bool
    """True if some are meant for this teacher, or for one whose values it takes."""
    meant_for: list[str]
    """The teachers that the method's defaults are the published settings of."""
    shortened: bool
    """True if the only budget is meant for other teachers, and a short one stands in its place."""


def card_file(thing: type) -> Path | None:
    """Return the path of the YAML file that lies beside the module of a method or teacher, with its name;
    None for a class that was typed in.
    """
    try:
        return Path(inspect.getfile(thing)).with_suffix(".yaml")
    except (OSError, TypeError):
        return None


def card(method: type[Method]) -> Card:
    """Read the method's card, empty if it has no file.

    Raises BenchError for a file that is not a card.
    """
    contents = _read(method)
    _require_known([contents.defaults, *contents.teachers.values()], method, card_file(method))
    return contents


def card_files(method: type[Method], teacher: str) -> list[Path]:
    """List the places of the cards that values for a method on a teacher are taken from; some may have no
    file.
    """
    teachers = [registry.teachers.get(name) for name in _taken_from(teacher)]
    return [file for thing in (*_extended(method), *teachers) if (file := card_file(thing))]


def recommended(method: type[Method], teacher: str) -> Recommended:
    """Return what the cards recommend for a method on a teacher; what is nearer to the two wins.

    From the least to the most: the card of a class that the method extends; a default that the method's
    own ``Settings`` state anew; the method's card. In each card the defaults come first, then the values
    for the teacher that ``recipes_like`` names, then those for the teacher itself. What the cards of these
    teachers have for the method wins over all that.

    A default budget that is meant for other teachers counts for those that come from the same package.
    For any other the budget is a short one.
    """
    names, below = _taken_from(teacher), {*Method.Settings.__mro__}
    values, suited, meant_for, budget_of_others = dict[str, Value](), False, list[str](), ""
    for cls in _extended(method):
        for name in _restated(cls.Settings, below):
            values.pop(name, None)
        below |= {*cls.Settings.__mro__}
        data = card(cls)
        meant_for = data.defaults_for or meant_for
        knows_it = not {*names}.isdisjoint([*data.teachers, *data.defaults_for])
        suited |= knows_it
        defaults = dict(data.defaults)
        if data.defaults_for and not (knows_it or _is_kin(teacher, data.defaults_for)):
            budget_of_others = defaults.pop("budget").value if "budget" in defaults else ""
        *others, own = [data.teachers.get(name, {}) for name in names]
        likened = [_said(f"as for {n}", layer) for n, layer in zip(names, others, strict=False)]
        for layer in (defaults, *likened, own):
            values |= layer if cls is method else _said(f"inherited from {cls.__name__}", layer)
    for name in names:
        for layer in _brought(name, method):
            values |= _said(f"card of {name}", layer)
            suited = True
    shortened = budget_of_others != "" and "budget" not in values
    if shortened:
        why = f"this suite: ends in minutes; {budget_of_others} is for {' and '.join(meant_for)}"
        values["budget"] = Value(value=SHORT, source=why)
    fields = {*method.Settings.model_fields, "budget"}
    return Recommended({n: v for n, v in values.items() if n in fields}, suited, meant_for, shortened)


def search_space(method: type[Method], teacher: str) -> dict[str, Range]:
    """Return the ranges in which settings of a method are looked for on a teacher, empty if no card has any.

    They are those of the nearest card that has some for the teacher, or for one whose values it takes.
    """
    fields = method.Settings.model_fields
    for cls in reversed(_extended(method)):
        for name in reversed(_taken_from(teacher)):
            if space := card(cls).search.get(name):
                return {setting: of for setting, of in space.items() if setting in fields}
    return {}


def published_choice(method: type[Method], space: Space, present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a space as the method's authors chose them, as far as these lie inside; the
    present ones in place of others, such as learning rates that suit another network.
    """
    published: dict[str, Any] = {}
    for cls in _extended(method):
        published |= {name: value.value for name, value in card(cls).defaults.items()}

    def chosen(of: Mapping[str, Any], name: str) -> Any:
        """A setting, or the multiple that it is."""
        factor = space[name].times
        return of[name] / of[factor] if factor else of[name]

    own = {
        n
        for n, of in space.items()
        if {n, of.times or n} <= {*published} and of.holds(chosen(published, n))
    }
    return multiplied(
        space, {name: chosen(published if name in own else present, name) for name in space}
    )


def scaled_settings(method: type[Method]) -> list[str]:
    """List the settings of a method that a trial at a part of the budget has the same part of."""
    names = dict.fromkeys(
        ["ema_halflife", *(name for cls in _extended(method) for name in card(cls).scaled)]
    )
    return [name for name in names if name in method.Settings.model_fields]


def choose_settings(
    method: type[Method], teacher: str, overrides: Mapping[str, Any], budget: str | None = None
) -> Hyperparameters:
    """Choose the settings of a method for a teacher: class defaults, then the cards, then ``overrides``;
    and its budget, unless one is given.

    Raises UsageError for a setting that does not exist, and for a value that is missing, of the
    wrong type, or out of range.
    """
    name, fields = method.name, method.Settings.model_fields
    for setting in overrides:
        if setting not in fields:
            raise unknown(f"setting of method {name!r}:", setting, fields)
    found = recommended(method, teacher)
    values = dict(found.values)
    its_budget = values.pop("budget", None)
    sources = dict.fromkeys(fields, BY_CODE) | {k: v.source for k, v in values.items()}
    missing = [
        f for f, info in fields.items() if info.is_required() and f not in values and f not in overrides
    ]
    if missing:
        file = card_file(method)
        raise UsageError(
            f"method {name!r} has no value for {', '.join(missing)} on {teacher!r}; give each with "
            f"--set NAME=VALUE, or put defaults into {file.name if file else 'a file'} beside its source."
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
    tuning = card(method).tuning
    return Hyperparameters(
        settings,
        budget=budget or (its_budget.value if its_budget else None),
        sources=sources | dict.fromkeys(overrides, "given"),
        tuning=tuning[base].model_dump() if (base := teacher.partition(":")[0]) in tuning else {},
        note=_note(name, teacher, found, budget) if method.trains and values else "",
    )


def _note(name: str, teacher: str, found: Recommended, budget: str | None) -> str:
    """Say that a method has no recipe for a teacher, and what it does instead; nothing where it has one."""
    meant_for = " and ".join(found.meant_for)
    sentences = []
    if not found.suited:
        sentences.append(
            f"{name} has no settings of its own for {teacher}; these are its defaults"
            f"{f', those for {meant_for}' if meant_for else ''} (`bench show method {name}`)"
        )
    if found.shortened and budget is None:
        advice = "give --budget"
        if ":" not in teacher:
            advice += f", or let the class of {teacher} name a teacher that it resembles in recipes_like"
        sentences.append(f"it trains for {SHORT}, as its own budget is for {meant_for}: {advice}")
    return "; ".join(sentences)


def _extended(method: type[Method]) -> list[type[Method]]:
    """List the classes of methods that a method extends, the furthest first, and itself at the end; of
    several with one card the nearest.
    """
    classes = [cls for cls in method.__mro__ if issubclass(cls, Method) and cls is not Method]
    return list({card_file(cls): cls for cls in reversed(classes)}.values())


def _restated(settings: type[Settings], below: set[type]) -> set[str]:
    """Return the settings that have a default stated by classes other than those ``below``."""
    own = [part for part in settings.__mro__ if part not in below]
    stated = {name for part in own for name in inspect.get_annotations(part)}
    fields = settings.model_fields
    return {name for name in stated if name in fields and not fields[name].is_required()}


def _taken_from(teacher: str) -> list[str]:
    """List the teachers whose values count for one, itself last, before it those that ``recipes_like``
    leads to. Raises UsageError where that is no teacher.
    """
    names, known = [teacher.partition(":")[0]], registry.teachers.entries()
    while names[0] in known and (like := registry.teachers.get(names[0]).recipes_like):
        if like not in known:
            raise unknown(f"teacher in recipes_like of {names[0]!r}:", like, known)
        if like in names:
            break
        names.insert(0, like)
    return names


def _brought(teacher: str, method: type[Method]) -> list[dict[str, Value]]:
    """Return the values that a teacher's card has: for every method that has such settings, for those that
    this one extends, and for this one. Raises UsageError for a setting that its method does not have.
    """
    if teacher not in registry.teachers.entries():
        return []
    teacher_class = registry.teachers.get(teacher)
    methods = _read(teacher_class).methods
    fields = {*method.Settings.model_fields, "budget"}
    layers = [{name: value for name, value in methods.get("all", {}).items() if name in fields}]
    for cls in _extended(method):
        own = methods.get(_name_of(cls), {})
        _require_known([own], cls, card_file(teacher_class))
        layers.append(own if cls is method else _said(f"inherited from {cls.__name__}", own))
    return [layer for layer in layers if layer]


def _name_of(method: type[Method]) -> str:
    """Return the name under which a class is registered, empty for one that is not."""
    target = f"{method.__module__}:{method.__qualname__}"
    for name, entry in registry.methods.entries().items():
        if entry.target == target or (not entry.target and entry.load() is method):
            return name
    return ""


def _is_kin(teacher: str, others: Iterable[str]) -> bool:
    """Tell whether a teacher is one model and comes from the package of one of the others."""
    entries, name = registry.teachers.entries(), teacher.partition(":")[0]
    if name not in entries:
        return True  # no teacher in particular
    origins = {entries[other].origin for other in others if other in entries}
    return entries[name].origin in origins and not registry.teachers.get(name).takes_source


def _said(who: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values with ``who`` before their sources."""
    return {name: Value(value=v.value, source=f"{who}: {v.source}") for name, v in values.items()}


def _read(thing: type) -> Card:
    file = card_file(thing)
    return read_card(file) if file else Card()


def _require_known(
    layers: Iterable[Mapping[str, Value]], method: type[Method], file: Path | None
) -> None:
    """Raise UsageError for a value of a setting that the method does not have."""
    known = {*method.Settings.model_fields, "budget"}
    for name in (name for values in layers for name in values):
        if name not in known:
            raise unknown(f"setting in {file}:", name, known)
