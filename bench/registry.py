"""Where methods, teachers, metrics and the rest are found by name: entry points, and files given with ``--plugin``.

``methods.get("sid")`` is the class, ``methods.entries()`` lists what there is; there is one ``Registry`` for each kind.

Listing reads only package metadata and the text of source files, so that it imports neither torch nor any plugin.
A plugin that is broken, or whose name is taken, is reported by name and leaves the others alone.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.errors import BenchError, UsageError, unknown
from bench.files.atomic import sha256
from bench.files.yaml_files import read_yaml

if TYPE_CHECKING:
    from bench.plugin.dataset import Dataset
    from bench.plugin.extractor import FeatureExtractor
    from bench.plugin.method import Method
    from bench.plugin.metric import Metric
    from bench.plugin.protocol import Protocol
    from bench.plugin.released import Released
    from bench.plugin.teacher import Teacher

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One registered thing: where it comes from and how to get it. ``problem`` says why it cannot be used, if so."""

    kind: str
    name: str
    origin: str
    load: Callable[[], Any]
    target: str = ""
    problem: str = ""
    text: str = ""
    """What a table says of it in a line."""

    def summary(self) -> str:
        """First line of the docstring, read from the source without importing it; of a row of a table, its own."""
        if self.text:
            return self.text
        module, _, attribute = self.target.partition(":")
        return _first_docstring_line(module, attribute) if attribute else _first_line(inspect.getdoc(self.load()))

    def source_file(self) -> Path | None:
        """The Python file that it is in, found without importing it; None if there is none."""
        module, _, attribute = self.target.partition(":")
        if attribute:
            return _source_file(module)
        try:
            return Path(inspect.getfile(self.load()))
        except TypeError:
            return None  # an instance rather than a class


_from_files: dict[tuple[str, str], Entry] = {}
_loading: list[str] = []  # the --plugin file being executed, so that what it registers is known to come from it
_loaded_files: dict[Path, str] = {}  # and the SHA-256 of what was executed


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: the word for it, such as ``method``.
        group: the entry-point group in which packages announce them.
        contract: ``module:class`` that each must fulfil, imported only when one is used.
        prefix: how their names begin in a group that several kinds share.
    """

    def __init__(self, kind: str, group: str, contract: str, prefix: str = "") -> None:
        self.kind, self.group, self.contract, self.prefix = kind, group, contract, prefix

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that registers what it decorates under ``name``; the plugin API wraps it for each kind."""

        def decorate(thing: Any) -> Any:
            origin = _loading[-1] if _loading else f"module {getattr(thing, '__module__', '?')}"
            taken = self.entries().get(name)
            if taken is not None:
                raise UsageError(
                    f"{origin} registers the {self.kind} {name!r}, but {taken.origin} already provides that name; "
                    "choose another name."
                )
            _from_files[self.kind, name] = Entry(self.kind, name, origin, lambda: thing)
            return thing

        return decorate

    def entries(self) -> dict[str, Entry]:
        """Everything of this kind by name, sorted; nothing is imported."""
        found: dict[str, Entry] = {}
        points = [point for point in _installed(self.group) if point.name.startswith(self.prefix)]
        for entry in itertools.chain.from_iterable(map(self._announced, points)):
            other = found.get(entry.name)
            if other is not None and other.target != entry.target:
                clash = f"{other.origin} and {entry.origin} both provide the {self.kind} {entry.name!r}; uninstall one of them."
                entry = replace(entry, origin=f"{other.origin}, {entry.origin}", problem=clash)
            found[entry.name] = entry
        found |= {name: entry for (kind, name), entry in _from_files.items() if kind == self.kind}
        return dict(sorted(found.items()))

    def _announced(self, point: EntryPoint) -> list[Entry]:
        """What an entry point announces: one thing, or with ``package:table.yaml`` every row of that table."""
        if not point.value.endswith(".yaml"):
            return [Entry(self.kind, point.name.removeprefix(self.prefix), _origin(point), point.load, target=point.value)]
        make = partial(Entry, self.kind, origin=_origin(point), target=point.value)
        try:
            return [
                make(name, load=partial(self._from_table, name, facts), text=facts.get("summary", ""))
                for name, facts in _read_table(point.value).items()
            ]
        except (OSError, ValueError) as error:
            return [make(point.name, load=point.load, problem=f"the table {point.value} cannot be read: {error}")]

    def _from_table(self, name: str, facts: Mapping[str, Any]) -> T:
        contract = EntryPoint(self.kind, self.contract, "").load()
        thing: T = contract.from_table(name, facts)
        return thing

    def get(self, name: str) -> T:
        """The thing registered under ``name``, imported, checked against its contract, and told its name.

        Raises UsageError for an unknown or doubly taken name, and for a plugin that does not import or breaks its contract.
        """
        known = self.entries()
        if name not in known:
            raise unknown(self.kind, name, known)
        entry = known[name]
        if entry.problem:
            raise UsageError(entry.problem)
        try:
            thing = entry.load()
        except Exception as error:  # a plugin may fail in any way; the message names it and the rest goes on
            raise UsageError(
                f"the {self.kind} {name!r} of {entry.origin} does not import: {type(error).__name__}: {error}"
            ) from error
        if flaw := _broken_contract(self, thing):
            raise UsageError(f"the {self.kind} {name!r} of {entry.origin} breaks its contract: {flaw}")
        if isinstance(thing, type):
            thing.name = name  # type: ignore[attr-defined]
        else:
            object.__setattr__(thing, "name", name)  # of a frozen dataclass
        return thing


methods: Registry[type[Method]] = Registry("method", "bench.methods", "bench.plugin.method:Method")
teachers: Registry[type[Teacher]] = Registry("teacher", "bench.teachers", "bench.plugin.teacher:Teacher")
datasets: Registry[Callable[[Path | None], Dataset]] = Registry("dataset", "bench.datasets", "bench.plugin.dataset:Dataset")
released: Registry[Released] = Registry("released", "bench.released", "bench.plugin.released:Released")
metrics: Registry[Callable[..., Metric]] = Registry("metric", "bench.evals", "bench.plugin.metric:Metric", "metric.")
extractors: Registry[type[FeatureExtractor]] = Registry(
    "extractor", "bench.evals", "bench.plugin.extractor:FeatureExtractor", "extractor."
)
protocols: Registry[Protocol] = Registry("protocol", "bench.evals", "bench.plugin.protocol:Protocol", "protocol.")

REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry for registry in (methods, teachers, datasets, released, metrics, extractors, protocols)
}
"""Every registry by its kind."""


def load_plugin(path: str | Path) -> None:
    """Execute one plugin file, whose decorators register what it holds.

    A second call for the same content does nothing; for a file that has changed it replaces what the file had registered.
    Raises UsageError, leaving everything as it was, for a file that does not exist, does not import, or takes a taken name.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"the plugin file {str(path)!r} does not exist; give --plugin the path of a Python file.")
    digest = sha256(file)
    if _loaded_files.get(file) == digest:
        return
    name = f"bench_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"the plugin file {str(path)!r} is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    origin, before = f"the plugin file {file}", dict(_from_files)
    for key in [key for key, entry in _from_files.items() if entry.origin == origin]:
        del _from_files[key]
    others = dict(_from_files)
    sys.modules[name] = module  # dataclasses and pydantic look their module up there
    _loading.append(origin)
    try:
        exec(compile(file.read_bytes(), file, "exec"), module.__dict__)  # not the loader: it may read a stale .pyc
        if _from_files == others:
            raise UsageError(f"{origin} registers nothing; decorate a class with @register_method or its kin.")
    except Exception as error:
        _from_files.clear()
        _from_files.update(before)
        if isinstance(error, BenchError):
            raise
        raise UsageError(f"{origin} does not import: {type(error).__name__}: {error}") from error
    finally:
        _loading.pop()
    _loaded_files[file] = digest


def require_plugins(digests: Mapping[str, str], whose: str) -> None:
    """Raise UsageError unless plugins of these SHA-256 have been loaded; what a file names is not run for its asking."""
    for path, digest in digests.items():
        if digest not in _loaded_files.values():
            raise UsageError(
                f"{whose} was made with the plugin {Path(path).name!r} of SHA-256 {digest[:12]}, which has not been given; "
                "give that very file with --plugin."
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
    module = _source_file(package)
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


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else f"entry point {point.value}"


def _broken_contract(registry: Registry[Any], thing: Any) -> str:
    """Why ``thing`` is not a valid one of its kind, or the empty string."""
    contract = EntryPoint(registry.kind, registry.contract, "").load()
    if registry.kind in ("protocol", "released"):
        return "" if isinstance(thing, contract) else f"expected an instance of bench.plugin.{contract.__name__}."
    if not (isinstance(thing, type) and issubclass(thing, contract)):
        return f"expected a subclass of bench.plugin.{contract.__name__}."
    missing = sorted(getattr(thing, "__abstractmethods__", ()))
    missing += [a for a in getattr(contract, "REQUIRED", ()) if not hasattr(thing, a)]
    return f"{thing.__name__} does not define {', '.join(missing)}." if missing else ""


def _first_docstring_line(module: str, attribute: str) -> str:
    """First line of the docstring of ``module:attribute``, or of the module if the attribute has none, without importing it."""
    source = _source_file(module)
    if source is None:
        return ""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return "(its source cannot be read)"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return _first_line(ast.get_docstring(node))
    return _first_line(_docstring_below(tree, attribute) or ast.get_docstring(tree))


def _docstring_below(tree: ast.Module, attribute: str) -> str | None:
    """The string literal that follows ``attribute = ...`` at the top level."""
    for node, after in itertools.pairwise(tree.body):
        named = isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == attribute for t in node.targets)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(str(after.value.value))
    return None


def _source_file(module: str) -> Path | None:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)  # finding a top-level package does not import it
    for depth in range(1, len(rest) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest[:depth]]), list(spec.submodule_search_locations))
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
