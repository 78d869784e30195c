"""``bench fetch``: get the files that something needs, ahead of its use."""

import json
from typing import Annotated

import typer

from bench.cli.options import Json, Plugins
from bench.errors import BenchError
from bench.files.assets import Asset, fetch


def command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="KIND:NAME", help="What needs files, such as teacher:edm-cifar10."),
    ],
    format_: Json = "terminal",
    plugin: Plugins = None,
) -> None:
    """Download and verify the files that a teacher, data set or other part needs. Exit code 1
    if one cannot be had.

    Example: bench fetch teacher:edm-cifar10
    """
    from bench.cli.files_needed import files_needed  # torch, which the help does without

    rows = []
    assets = [(name, asset) for name in names for asset in files_needed(name)]  # before any download
    for name, asset in assets:
        try:
            rows.append(_row(name, asset, fetch(asset).stat().st_size))
        except BenchError as error:
            typer.echo(f"error: {error}", err=True)
            continue
        if format_ == "terminal":
            typer.echo("{path}  {bytes:,} bytes  sha256 {sha256} ({digest})".format(**rows[-1]))
    if format_ == "json":
        typer.echo(json.dumps(rows, indent=1))
    if len(rows) < len(assets):
        raise typer.Exit(1)


def _row(name: str, asset: Asset, size: int) -> dict[str, str | int | None]:
    return {
        "name": name,
        "file": asset.file,
        "path": str(asset.path),
        "bytes": size,
        "sha256": asset.digest(),
        "digest": "pinned" if asset.sha256 else "recorded",
        "licence": asset.licence,
        "source": asset.source,
    }
