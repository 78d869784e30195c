"""Write a new plugin as an installable package, with its entry point and its tests."""

import re
from pathlib import Path

from bench import registry
from bench.scaffold.scaffold import class_name, module_name, new_plugin

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "A {kind} for distill-bench"
requires-python = ">=3.11"
dependencies = ["distill-bench"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points."{group}"]
{entries}
[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""
README = """\
# {name}

A {kind} for distill-bench. Installed, it takes part in all commands of the suite by its name.

    pip install -e '.[test]'
    bench check {kind} {name}
    pytest
"""
TESTS = '''\
"""{name} keeps the contract of its kind: what `bench check {kind} {name}` looks at."""

from bench.testing import {contract}


class Test{cls}({contract}):
    name = "{name}"
'''
CARD = """\
# Settings of {name}, each with its source; `teachers:` below has those of one teacher.
defaults:
  budget: {{value: images=50k, source: "chosen here: seconds on a laptop"}}
# teachers:
#   edm-cifar10:
#     lr: {{value: 1.0e-5, source: "tuned here"}}
"""


def new_package(kind: str, name: str, parent: str = "") -> dict[str, str]:
    """Return the files of a new package that announces a ``kind`` under ``name``: texts by their paths.

    Raises UsageError as ``new_plugin``.
    """
    module, cls = module_name(name), class_name(kind, name, parent)
    known = registry.REGISTRIES[kind]
    text = _announced_by_its_package(new_plugin(kind, name, parent))
    entries = f'"{known.prefix}{name}" = "{module}.{kind}:{cls}"\n'
    if "PROTOCOL = " in text:
        entries += f'"protocol.{name}-1k" = "{module}.{kind}:PROTOCOL"\n'
    words = {
        "name": name,
        "kind": kind,
        "module": module,
        "cls": cls,
        "group": known.group,
        "entries": entries,
        "contract": f"{kind.title()}Contract",
    }
    files = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"tests/test_{module}.py": TESTS,
    }
    if kind == "method" and not parent:
        files[f"{module}/{kind}.yaml"] = CARD
    written = {path: content.format(**words) for path, content in files.items()}
    written[f"{module}/__init__.py"] = f'"""{name}, a {kind} for distill-bench."""\n'
    return written | {f"{module}/{kind}.py": text}


def write_package(files: dict[str, str], folder: Path) -> None:
    """Write the files of a package into a folder that is not there yet."""
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _announced_by_its_package(text: str) -> str:
    """A plugin file without its decorators: of a package the entry point says what there is, once."""
    for announcement in (
        r"^@register_\w+\(.*\)\n",
        r"^register_\w+\(.*\)\n",
        r"^    register_\w+,\n",
        r", register_\w+(?=.*$)",
    ):
        text = re.sub(announcement, "", text, flags=re.MULTILINE)
    return text
