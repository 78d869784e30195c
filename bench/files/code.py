"""A digest of what a Python file computes, apart from how it is written: of its code without comments,
docstrings and layout.
"""

import ast
import hashlib
from collections.abc import Iterator
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
