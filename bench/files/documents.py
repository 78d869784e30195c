"""Documents read as plain data: YAML and JSON, of bounded size and depth, whoever wrote them."""

import json
import math
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError, SafeConstructor

LARGEST = 2**18
"""Bytes of the largest YAML that a person may bring; pure Python reads it in three seconds."""


def read_regular(path: Path, at_most: int) -> bytes:
    """Read a whole file.

    Raises ValueError, in one line, for a folder, a pipe or a device, which could hang the reader or
    fill its memory, and for a file of more than ``at_most`` bytes; OSError for one that cannot be read.
    """
    if path.is_dir():
        raise ValueError("it is a folder, expected a file")
    with open(path, "rb", opener=_open_at_once) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is a pipe or a device, expected a file")
        if facts.st_size > at_most:
            raise ValueError(f"it has {facts.st_size:,} bytes, expected at most {at_most:,}")
        return file.read(at_most)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file as ``open`` does, and a pipe without waiting for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_json(text: str | bytes) -> Any:
    """Read JSON. Raises ValueError, in one line, for a text that is not JSON or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def require_numbers(text: bytes) -> None:
    """Raise ValueError, in one line, for a JSON text with a number that no float holds, NaN among them.

    The text is read number by number only where it may hold one, since that takes a while.
    """
    if _MAY_BE_NO_NUMBER.search(text):
        with suppress(RecursionError, UnicodeDecodeError, json.JSONDecodeError):  # its reader says so
            json.loads(
                text, parse_int=_within_float, parse_float=_within_float, parse_constant=_within_float
            )


_MAY_BE_NO_NUMBER = re.compile(rb"[0-9]{300}|[0-9][eE]\+?[0-9]{3}|NaN|Infinity")


def _within_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"it has the number {beyond(text)}")
    return value


def beyond(text: str) -> str:
    """Write a number that no float holds in a few characters, with what was expected."""
    short = text if len(text) <= 20 else f"{text[:20]}... of {len(text):,} digits"
    return f"{short}, expected at most {sys.float_info.max:.1e}"


def read_yaml(path: Path, *, installed: bool = False) -> Any:
    """Read a YAML file as dicts, lists, texts, numbers, truth values and None, which an empty file is.

    Args:
        path: the file, in UTF-8.
        installed: whether the file came with this suite or with a package. It is then read by
            libyaml, which is ten times as fast and which a text nested 100,000 deep makes crash.

    Raises ValueError, in one line, for a file that is not such YAML, and OSError for one that cannot
    be read.
    """
    if installed:
        return parse_yaml(path.read_text(encoding="utf-8"), _InstalledLoader)
    return parse_yaml(read_regular(path, LARGEST).decode("utf-8"))


def parse_yaml(text: str, loader: type[Any] | None = None) -> Any:
    """Read a text as ``read_yaml`` reads a file. Raises ValueError for a text that is not YAML."""
    try:
        return yaml.load(text, loader or _Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{error.problem}{place}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def dump_yaml(content: Any, width: int = 80) -> str:
    """Write plain data as YAML that ``parse_yaml`` reads back as it was, fields in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)


_TYPES = {
    "null": (r"~|null|Null|NULL|", [*"~nN", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
}
"""By type, the texts without quotes that are one, and the characters that they begin with."""
_TAG = "tag:yaml.org,2002:"


class _CoreSchema:
    """The types of YAML 1.2's core schema, by which a text means what it looks like.

    YAML 1.1, which PyYAML reads, makes 52 of ``064``, false of ``no``, 64 of ``1:04``, a date of
    ``2026-01-01``, and a text of ``1e2``.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}


for _name, (_pattern, _beginnings) in _TYPES.items():
    for _beginning in _beginnings:
        _CoreSchema.yaml_implicit_resolvers.setdefault(_beginning, []).append(
            (_TAG + _name, re.compile(rf"(?:{_pattern})\Z"))
        )


class _Plain(_CoreSchema, SafeConstructor):
    """Builds plain data of those types alone. A field that is given twice is refused."""

    yaml_constructors = {
        tag: construct
        for tag, construct in SafeConstructor.yaml_constructors.items()
        if tag in {None, *(_TAG + name for name in (*_TYPES, "str", "seq", "map"))}
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Check the fields of a mapping; ``<<`` is one like any other."""
        fields = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a field's name is not a text", key.start_mark)
            if key.value in fields:
                raise ConstructorError(
                    None, None, f"the field {key.value!r} is given twice", key.start_mark
                )
            fields.add(key.value)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a part, of which a tag may say what it is only where its text says the same."""
        pattern, _ = _TYPES.get(node.tag.removeprefix(_TAG), ("", []))
        if pattern and not re.fullmatch(pattern, str(node.value)):
            problem = f"{str(node.value)[:60]!r} is no {node.tag.removeprefix(_TAG)}"
            raise ConstructorError(None, None, problem, node.start_mark)
        return super().construct_object(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Read a scalar's text, in which an escape may stand for half a character."""
        text = super().construct_scalar(node)
        try:
            text.encode()
        except UnicodeEncodeError:
            problem = "a text has half a character, which no file can hold"
            raise ConstructorError(None, None, problem, node.start_mark) from None
        return text

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number, in decimals unless it begins with ``0o`` or ``0x``."""
        text = str(self.construct_scalar(node))
        try:
            value = int(text, 0 if text[:2] in ("0o", "0x") else 10)
            float(value)
        except (ValueError, OverflowError):  # Python reads 4,300 digits, and a float holds 308
            raise self._too_large(node) from None
        return value

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Read a number, which is infinite only where its text says so."""
        text = str(self.construct_scalar(node))
        value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if math.isinf(value) and "inf" not in text.lower():
            raise self._too_large(node)
        return value

    def _too_large(self, node: yaml.ScalarNode) -> ConstructorError:
        problem = f"the number {beyond(str(node.value))}"
        return ConstructorError(None, None, problem, node.start_mark)


_Plain.yaml_constructors[f"{_TAG}int"] = _Plain.construct_int
_Plain.yaml_constructors[f"{_TAG}float"] = _Plain.construct_float


class _Loader(_Plain, yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias: a few of them, of each other, stand for more than any memory holds."""
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            problem = f"*{event.anchor} repeats another part; write that part out"
            raise ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


class _InstalledLoader(_Plain, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either version of YAML would read as something else."""

    yaml_implicit_resolvers = {
        beginning: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(beginning, []),
            *_CoreSchema.yaml_implicit_resolvers.get(beginning, []),
        ]
        for beginning in {
            *yaml.SafeDumper.yaml_implicit_resolvers,
            *_CoreSchema.yaml_implicit_resolvers,
        }
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write a part out wherever it stands."""
        return True
