"""Find Python modules and read their docstrings without importing them."""

import ast
import importlib.util
import inspect
import itertools
from importlib.machinery import PathFinder
from pathlib import Path


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
