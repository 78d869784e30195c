"""``bench fetch``: get the files that something needs, ahead of its use."""

import json
from typing import Annotated

import typer

from bench import registry
from bench.cli.options import Json, Plugins
from bench.errors import BenchError, UsageError, unknown
from bench.evaluation.plan import plan_evaluation, spec_of
from bench.factory import find_teacher_class
from bench.files.assets import Asset, fetch
from bench.plugin.requirement import PublishedFile
from bench.plugin.teacher import Teacher
from bench.runs.options import EvaluationOptions
from bench.settings import choose_settings


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
    rows = []
    assets = [(name, asset) for name in names for asset in _assets(name)]  # before any download
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


def _assets(name: str) -> tuple[Asset, ...]:
    """Find the files that ``KIND:NAME`` needs. Raises UsageError if there is no such thing."""
    kind, colon, part = name.partition(":")
    if not colon:
        meant = [
            f"{kind}:{name}" for kind, things in registry.REGISTRIES.items() if name in things.entries()
        ]
        example = " or ".join(meant) or "for example teacher:edm-cifar10"
        raise UsageError(f"{name!r} is not of the form KIND:NAME; say {example}.")
    if kind not in registry.REGISTRIES:
        raise unknown("kind", kind, registry.REGISTRIES)
    if kind == "teacher" and ":" in part:
        teacher_class, source = find_teacher_class(part)
        teacher_class(None, source)  # what stands for many models fetches by itself
        typer.echo(f"{name} is at hand", err=True)
        return ()
    assets = _assets_of(kind, part)
    if not assets and kind == "dataset" and part != "files":
        registry.datasets.get(part)(None)  # one that a person has to put in its place says so
    if not assets:
        typer.echo(f"{name} needs no download", err=True)
    return assets


def _assets_of(kind: str, name: str) -> tuple[Asset, ...]:
    """Find the files of something registered, and those that it takes to use and measure it."""
    match kind:
        case "method":
            method = registry.methods.get(name)
            requirements = method.requires(choose_settings(method, "", {}).settings)
            return tuple(
                required.asset for required in requirements if isinstance(required, PublishedFile)
            )
        case "protocol":
            protocol = registry.protocols.get(name)
            places = [place for places in protocol.references.values() for place in places]
            statistics = [place.asset for place in places if hasattr(place, "asset")]
            return (*registry.extractors.get(protocol.extractors[0]).assets, *statistics)
        case "teacher":
            teacher = registry.teachers.get(name)
            return (*teacher.assets, *_to_measure(teacher))
        case "released":
            released = registry.released.get(name)
            return (*released.assets, *_to_measure(registry.teachers.get(released.teacher)))
        case _:
            assets: tuple[Asset, ...] = getattr(registry.REGISTRIES[kind].get(name), "assets", ())
            return assets


def _to_measure(teacher: type[Teacher]) -> tuple[Asset, ...]:
    """Find what a teacher's protocol needs: the extractor's weights, and statistics of its data set."""
    if not teacher.known_before_loading or teacher.protocol is None:
        return ()
    return tuple(plan_evaluation(EvaluationOptions(), spec_of(teacher)).assets)


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
