"""Python source read without importing it: where a module lies, what its docstrings say, and a digest
of what it computes, apart from how it is written.
"""

import ast
import hashlib
import importlib.util
import inspect
import itertools
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from bench.files.atomic import content_digest

CODE = "code "
"""The beginning of a digest of code, which tells it from one of a file's bytes."""


def input_digest(path: Path) -> str:
    """Digest what a file or folder means: the code of a Python file, and the bytes of anything else."""
    return code_digest(path) if path.suffix == ".py" and path.is_file() else content_digest(path)


def code_digest(file: Path) -> str:
    """Digest the syntax tree of a Python file without statements that are nothing but a text, as
    docstrings are.

    Every Python that reads the file gives the same digest: empty fields, of which newer ones have
    more, do not count. Of a file that does not parse, the bytes are digested.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return content_digest(file)
    digest = hashlib.sha256()
    for word in _words(tree):
        digest.update(f"{word}\0".encode("utf-8", "surrogatepass"))
    return CODE + digest.hexdigest()


def _words(node: ast.AST) -> Iterator[str]:
    """The tree in one order: kinds of nodes, names of fields that hold something, and their values."""
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.Constant) and name == "value":
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, list):
            if items := [item for item in value if not _is_text(item)]:
                yield f"{name}["
                for item in items:
                    yield from _words(item) if isinstance(item, ast.AST) else [repr(item)]
                yield "]"
        elif isinstance(value, ast.AST):
            yield f"{name}="
            yield from _words(value)
        elif value is not None:
            yield f"{name}={value!r}"
    yield ")"


def _is_text(node: object) -> bool:
    """Tell whether a statement is nothing but a text: a docstring, of whatever it documents."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def first_docstring_line(module: str, attribute: str) -> str:
    """Return the first line of an attribute's docstring, or of its module's, without an import."""
    source = source_file(module)
    if source is None:
        return ""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return "(its source cannot be read)"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return summary_of(ast.get_docstring(node))
    return summary_of(_docstring_below(tree, attribute) or ast.get_docstring(tree))


def _docstring_below(tree: ast.Module, attribute: str) -> str | None:
    """Return the text that stands below ``attribute = ...`` at the top level of a module."""
    for node, after in itertools.pairwise(tree.body):
        targets = node.targets if isinstance(node, ast.Assign) else []
        named = any(isinstance(target, ast.Name) and target.id == attribute for target in targets)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(str(after.value.value))
    return None


def source_file(module: str) -> Path | None:
    """Find the file of a module without importing it or the packages that it is in."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)  # finding a top-level package does not import it
    for depth in range(1, len(rest) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(
            ".".join([top, *rest[:depth]]), list(spec.submodule_search_locations)
        )
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def summary_of(docstring: str | None) -> str:
    """Return the first paragraph of a docstring on one line; the empty string if there is none."""
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())
