"""``bench stats``: reference statistics of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Plugins


def stats(
    teacher: Annotated[str, typer.Argument(help="Teacher whose data set and protocol are meant, such as edm-digits.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("reference.safetensors"),
    plugin: Plugins = None,
) -> None:
    """Write the reference statistics of a teacher's data set under its protocol.

    Example: bench stats edm-digits -o digits_reference.safetensors
    """
    from bench.cli.options import load_plugins
    from bench.evaluate import write_reference

    load_plugins(plugin)
    typer.echo(f"{output}: {write_reference(teacher, output)}")
