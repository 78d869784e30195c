"""A group of commands whose modules are imported when they are needed, so that help comes at once."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

STYLE: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
}


class LazyGroup(TyperGroup):
    """Knows each command by its name and a line of help, and imports the one that runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with, and import it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)), rest


def announce(app: typer.Typer, name: str, help_line: str) -> None:
    """Add a command to the help of a lazy group, by its name and the first line of its docstring."""
    app.command(name, help=help_line)(lambda: None)


def load_command(name: str) -> Any:
    """Import ``bench.cli.NAME`` and make a command of its function ``command``."""
    app = typer.Typer(**STYLE)
    app.command(name)(import_module(f"bench.cli.{name}").command)
    return typer.main.get_command(app)
