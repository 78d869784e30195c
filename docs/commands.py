"""A hook of mkdocs: the page of the command line, written from the commands themselves."""

from __future__ import annotations

import re
from typing import Any

import click
from mkdocs.structure.files import File, Files

from bench.cli import COMMANDS, load_command


def on_files(files: Files, config: Any) -> Files:
    """Add ``commands.md`` to the site."""
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def commands_page() -> str:
    """Return every command with its help, arguments and options, as Markdown."""
    return "\n\n".join(["# Commands", *map(_section, COMMANDS)]) + "\n"


def _section(name: str) -> str:
    command = load_command(name)
    with click.Context(command, info_name=f"bench {name}") as context:
        usage = command.get_usage(context).removeprefix("Usage: ")
        options = [row for p in command.params if (row := p.get_help_record(context))]
    paragraphs = (command.help or "").strip()
    rows = [f"| `{flags}` | {_cell(text)} |" for flags, text in options]
    table = ["| option | meaning |", "|---|---|", *rows]
    return "\n\n".join([f"## bench {name}", paragraphs, f"```text\n{usage}\n```", "\n".join(table)])


def _cell(text: str) -> str:
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
