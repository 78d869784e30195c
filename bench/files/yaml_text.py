"""YAML as plain data, read as quickly as the installed PyYAML can."""

from __future__ import annotations

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


def load_yaml(text: str | bytes) -> Any:
    """Return the content of a YAML document, which can create nothing but plain data. Raises yaml.YAMLError."""
    return yaml.load(text, _LOADER)
