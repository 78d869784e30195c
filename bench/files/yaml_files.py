"""YAML read as plain data: methods' cards, recipes, suites, and tables of published facts."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path, *, installed: bool = False) -> Any:
    """Read a YAML file as dicts, lists, texts and numbers; an empty file is None.

    Args:
        path: the file, in UTF-8.
        installed: whether the file came with this suite or with a package. It is then read by
            libyaml, which is ten times as fast and which a text nested 100,000 deep makes crash.

    Raises ValueError, in one line, for a file that is not YAML, and OSError for one that cannot be
    read.
    """
    text = path.read_text(encoding="utf-8")
    return parse_yaml(
        text, getattr(yaml, "CSafeLoader", yaml.SafeLoader) if installed else yaml.SafeLoader
    )


def parse_yaml(text: str, loader: type[Any] = yaml.SafeLoader) -> Any:
    """Read a text as ``read_yaml`` reads a file. Raises ValueError for a text that is not YAML."""
    try:
        return yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None
