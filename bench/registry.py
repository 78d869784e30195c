"""Find methods, teachers, metrics and the rest by name, among installed packages and ``--plugin`` files.

There is one registry for each kind:

>>> registry.methods.get("sid")                  # the class, imported and checked
>>> registry.methods.get("sidd")                 # UsageError: unknown method 'sidd'; did you mean
'sid'?
>>> registry.teachers.entries()                  # all teachers by name, without importing any
>>> registry.teachers.entries()["edm-cifar10"].summary()
>>> registry.load_plugin("mine.py")              # what its decorators register is found from now on
>>> registry.REGISTRIES["metric"]                # the registry of a kind that is known by its word

A package announces what it has by entry points: ``sid = "methods.sid:SiD"`` in the group
``bench.methods`` for one thing, or ``mine = "package:table.yaml"`` for every row of a table.

Listing reads package metadata, tables and the text of source files; it imports neither torch nor
any plugin. A plugin that is broken, or whose name is taken, is reported by name and leaves the
others alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.errors import BenchError, UsageError, unknown
from bench.files.atomic import sha256
from bench.files.code import first_docstring_line, source_file, summary_of
from bench.files.documents import read_yaml
from bench.files.paths import written_path
from bench.files.streams import stdout_to_stderr

if TYPE_CHECKING:
    from bench.plugin.dataset import Dataset
    from bench.plugin.extractor import FeatureExtractor
    from bench.plugin.method import Method
    from bench.plugin.metric import Metric
    from bench.plugin.protocol import Protocol
    from bench.plugin.released import Released
    from bench.plugin.teacher import Teacher

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True)
class Entry:
    """One registered name: where it comes from, and how to load what it stands for."""

    kind: str
    name: str
    origin: str
    """The package with its version, or the plugin file, that registers it."""
    load: Callable[[], Any]
    target: str = ""
    """The entry point's value: ``module:attribute`` or ``package:table.yaml``; empty for other code."""
    problem: str = ""
    """Why it cannot be used; empty if it can."""
    description: str = ""
    """Its line in a table; empty if it is described by a docstring."""
    plugin: Path | None = None
    """The plugin file that registers it; None for what packages and other code provide."""

    def summary(self) -> str:
        """Return the first line of its docstring, read without importing it, or its line in a table."""
        if self.description:
            return self.description
        module, _, attribute = self.target.partition(":")
        if attribute:
            return first_docstring_line(module, attribute)
        return summary_of(inspect.getdoc(self.load()))

    def source_file(self) -> Path | None:
        """Return the Python file that defines it, found without importing it, or None."""
        module, _, attribute = self.target.partition(":")
        if attribute:
            return source_file(module)
        try:
            return Path(inspect.getfile(self.load()))
        except TypeError:
            return None  # an instance rather than a class


_from_files: dict[tuple[str, str], Entry] = {}
"""By kind and name, what plugin files and other code have registered."""
_loading: list[Path] = []
"""The plugin file being executed, which registers what it decorates; empty at other times."""
_loaded_files: dict[Path, str] = {}
"""Plugin files that were executed, with their SHA-256."""
noted: list[set[Path]] = []
"""Sets that collect the plugin files of all that is got by name, while there are any."""


class Registry(Generic[T]):
    """All things of one kind, by name.

    Args:
        kind: the word for the kind, such as ``method``.
        group: the entry-point group in which packages announce such things.
        contract: the class that each must fulfil, as ``module:class``; imported only when one is
            used.
        prefix: the beginning of their names in a group that several kinds share.
    """

    def __init__(self, kind: str, group: str, contract: str, prefix: str = "") -> None:
        self.kind, self.group, self.contract, self.prefix = kind, group, contract, prefix

    def register(self, name: str) -> Callable[[D], D]:
        """Return a decorator that registers a thing under ``name``; see
        ``bench.plugin.register_method``.
        """

        def decorate(thing: D) -> D:
            file = _loading[-1] if _loading else None
            origin = f"the plugin file {file}" if file else f"module {getattr(thing, '__module__', '?')}"
            if not name or name != name.strip() or not name.isprintable() or {*name} & {*",:"}:
                raise UsageError(
                    f"{origin} registers the {self.kind} {name!r}, expected one line of text without "
                    "commas, which part names in a list, and colons, which part a name from a path."
                )
            if other := self.entries().get(name):
                raise UsageError(
                    f"{origin} registers the {self.kind} {name!r}, but {other.origin} already "
                    "provides that name; choose another name."
                )
            _from_files[self.kind, name] = Entry(self.kind, name, origin, lambda: thing, plugin=file)
            return thing

        return decorate

    def entries(self) -> dict[str, Entry]:
        """Return everything of this kind by name, sorted. Nothing is imported."""
        entries: dict[str, Entry] = {}
        points = [point for point in _installed(self.group) if point.name.startswith(self.prefix)]
        for entry in itertools.chain.from_iterable(map(self._announced, points)):
            other = entries.get(entry.name)
            if other is not None and other.target != entry.target:
                both = f"{other.origin} and {entry.origin} both provide the {self.kind} {entry.name!r}"
                origin = f"{other.origin}, {entry.origin}"
                entry = replace(entry, origin=origin, problem=f"{both}; uninstall one of them.")
            entries[entry.name] = entry
        entries |= {name: entry for (kind, name), entry in _from_files.items() if kind == self.kind}
        return dict(sorted(entries.items()))

    def _announced(self, point: EntryPoint) -> list[Entry]:
        """Return the entries of an entry point: one, or one for each row of ``package:table.yaml``."""
        make = partial(Entry, self.kind, origin=_origin(point.dist, point.value), target=point.value)
        if not point.value.endswith(".yaml"):
            return [make(point.name.removeprefix(self.prefix), load=point.load)]
        try:
            return [
                make(
                    name,
                    load=partial(self._from_table, name, facts),
                    description=facts.get("summary", ""),
                )
                for name, facts in _read_table(point.value).items()
            ]
        except (OSError, ValueError) as error:
            return [
                make(
                    point.name,
                    load=point.load,
                    problem=f"the table {point.value} cannot be read: {error}",
                )
            ]

    def _from_table(self, name: str, facts: Mapping[str, Any]) -> Any:
        return EntryPoint(self.kind, self.contract, "").load().from_table(name, facts)

    def get(self, name: str) -> T:
        """Import the thing registered under ``name``, check its contract, and set its ``name``.

        Raises UsageError for a name that is unknown or taken twice, and for a plugin that does not import
        or breaks its contract.
        """
        entries = self.entries()
        if name not in entries:
            raise unknown(self.kind, name, entries)
        entry = entries[name]
        if entry.problem:
            raise UsageError(entry.problem)
        try:
            thing = entry.load()
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            raise UsageError(
                f"the {self.kind} {name!r} of {entry.origin} does not import: {type(error).__name__}: {error}"
            ) from error
        if flaw := _broken_contract(self, thing):
            raise UsageError(f"the {self.kind} {name!r} of {entry.origin} breaks its contract: {flaw}")
        if entry.plugin and not _loading:  # a file that is executed may get what no run uses
            for files in noted:
                files.add(entry.plugin)
        if isinstance(thing, type):
            thing.name = name  # type: ignore[attr-defined]
        else:
            object.__setattr__(thing, "name", name)  # even on a frozen dataclass
        return thing


methods: Registry[type[Method]] = Registry("method", "bench.methods", "bench.plugin.method:Method")
teachers: Registry[type[Teacher]] = Registry("teacher", "bench.teachers", "bench.plugin.teacher:Teacher")
datasets: Registry[Callable[[Path | None], Dataset]] = Registry(
    "dataset", "bench.datasets", "bench.plugin.dataset:Dataset"
)
released: Registry[Released] = Registry("released", "bench.released", "bench.plugin.released:Released")
metrics: Registry[Callable[..., Metric]] = Registry(
    "metric", "bench.evals", "bench.plugin.metric:Metric", "metric."
)
extractors: Registry[type[FeatureExtractor]] = Registry(
    "extractor", "bench.evals", "bench.plugin.extractor:FeatureExtractor", "extractor."
)
protocols: Registry[Protocol] = Registry(
    "protocol", "bench.evals", "bench.plugin.protocol:Protocol", "protocol."
)

REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (methods, teachers, datasets, released, metrics, extractors, protocols)
}
"""Every registry by its kind."""


def load_plugin(path: str | Path) -> None:
    """Execute one plugin file, whose decorators register what it holds.

    A second call for the same content does nothing; a call for a file that has changed replaces
    what the file had registered. Raises UsageError, leaving everything as it was, for a file that
    does not exist or does not import, or that registers nothing or a name that is taken.
    """
    file = written_path(path).absolute()
    if not file.is_file():
        raise UsageError(
            f"the plugin file {str(path)!r} does not exist; give --plugin the path of a Python file."
        )
    digest = sha256(file)
    if _loaded_files.get(file) == digest:
        return
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"the plugin file {str(path)!r} is no Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    origin, before = f"the plugin file {file}", dict(_from_files)
    for key in [key for key, entry in _from_files.items() if entry.plugin == file]:
        del _from_files[key]
    others = dict(_from_files)
    sys.modules[name] = module  # dataclasses and pydantic look their module up there
    _loading.append(file)
    try:
        # Compiled here, as a loader may read a stale .pyc.
        with stdout_to_stderr():
            exec(compile(file.read_bytes(), file, "exec"), module.__dict__)
        if _from_files == others:
            raise UsageError(
                f"{origin} registers nothing; decorate a class with @register_method or its kin."
            )
    except (Exception, SystemExit) as error:
        _from_files.clear()
        _from_files.update(before)
        if isinstance(error, BenchError):
            raise
        raise UsageError(f"{origin} does not import: {type(error).__name__}: {error}") from error
    finally:
        _loading.pop()
    _loaded_files[file] = digest


def plugin_module(path: str | Path) -> ModuleType:
    """Return the module of a plugin file that has been loaded."""
    return sys.modules[_module_name(Path(path).expanduser().absolute())]


def _module_name(file: Path) -> str:
    return f"bench_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"


def require_plugins(digests: Mapping[str, str], whose: str) -> None:
    """Raise UsageError unless plugin files of these contents have been loaded.

    A file that names a plugin does not cause it to be run: a person has to give it.

    Args:
        digests: SHA-256 by path of the plugin files.
        whose: the run or file that was made with them, for the message.
    """
    for path, digest in digests.items():
        if digest not in _loaded_files.values():
            raise UsageError(
                f"{whose} was made with the plugin {Path(path).name!r} of SHA-256 {digest[:12]}, "
                "which has not been given; give that very file with --plugin."
            )


@cache
def _installed(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


@cache
def _read_table(place: str) -> dict[str, dict[str, Any]]:
    """Read the table ``package:table.yaml``: its rows by name, each with the facts of its family.

    Raises ValueError or OSError if there is no such table.
    """
    package, _, name = place.partition(":")
    module = source_file(package)
    if module is None:
        raise ValueError(f"there is no package {package!r}")
    families = read_yaml(module.with_name(name), installed=True)
    try:
        return {
            name: {fact: value for fact, value in family.items() if fact != "generators"} | row
            for family in families.values()
            for name, row in family["generators"].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it does not hold families of generators ({error})") from None


@cache  # each look at a package's name reads and parses all of its metadata
def _origin(package: Distribution | None, value: str) -> str:
    return f"package {package.name} {package.version}" if package else f"entry point {value}"


def _broken_contract(registry: Registry[Any], thing: Any) -> str:
    """Say how ``thing`` breaks the contract of its kind; empty if it does not."""
    contract = EntryPoint(registry.kind, registry.contract, "").load()
    if registry.kind in ("protocol", "released"):
        return (
            ""
            if isinstance(thing, contract)
            else f"expected an instance of bench.plugin.{contract.__name__}."
        )
    if not (isinstance(thing, type) and issubclass(thing, contract)):
        return f"expected a subclass of bench.plugin.{contract.__name__}."
    missing = sorted(getattr(thing, "__abstractmethods__", ()))
    missing += [a for a in getattr(contract, "REQUIRED", ()) if not hasattr(thing, a)]
    return f"{thing.__name__} does not define {', '.join(missing)}." if missing else ""
