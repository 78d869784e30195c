"""``bench fetch``: get the files that something needs, ahead of its use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Json, Plugins, check_format, load_plugins

if TYPE_CHECKING:
    from bench.files.assets import Asset
    from bench.plugin.teacher import Teacher


def fetch(
    names: Annotated[list[str], typer.Argument(metavar="KIND:NAME", help="What needs files, such as teacher:edm-cifar10.")],
    format_: Json = "terminal",
    plugin: Plugins = None,
) -> None:
    """Download and verify the files that a teacher, data set or other part needs. Exit code 1 if one cannot be had.

    Example: bench fetch teacher:edm-cifar10
    """
    from bench.errors import BenchError
    from bench.files import assets

    check_format(format_)
    load_plugins(plugin)
    rows, failed = [], False
    wanted = [(name, asset) for name in names for asset in _assets(name)]  # a mistyped name is found before any download
    for name, asset in wanted:
        try:
            rows.append(_row(name, asset, assets.fetch(asset).stat().st_size))
        except BenchError as error:
            typer.echo(f"error: {error}", err=True)
            failed = True
            continue
        if format_ == "terminal":
            typer.echo("{path}  {bytes:,} bytes  sha256 {sha256} ({digest})".format(**rows[-1]))
    if format_ == "json":
        import json

        typer.echo(json.dumps(rows, indent=1))
    if failed:
        raise typer.Exit(1)


def _assets(name: str) -> tuple[Asset, ...]:
    """The files that ``KIND:NAME`` needs. Raises UsageError if there is no such thing."""
    from bench import registry
    from bench.errors import UsageError, unknown

    kind, colon, part = name.partition(":")
    if not colon:
        meant = " or ".join(f"{k}:{name}" for k in registry.REGISTRIES if name in registry.REGISTRIES[k].entries())
        raise UsageError(f"{name!r} is not of the form KIND:NAME; say {meant or 'for example teacher:edm-cifar10'}.")
    if kind not in registry.REGISTRIES:
        raise unknown("kind", kind, registry.REGISTRIES)
    if kind == "teacher" and ":" in part:
        from bench.factory import find_teacher_class

        teacher_class, source = find_teacher_class(part)
        teacher_class(None, source)  # what stands for many models fetches by itself
        typer.echo(f"{name} is at hand", err=True)
        return ()
    thing = registry.REGISTRIES[kind].get(part)
    assets: tuple[Asset, ...] = getattr(thing, "assets", ())
    if kind == "protocol":
        published = [place.asset for places in thing.references.values() for place in places if hasattr(place, "asset")]
        assets = (*registry.extractors.get(thing.extractors[0]).assets, *published)
    if kind == "method":
        assets = _of_a_method(part)
    if kind in ("teacher", "released"):
        assets += _to_measure(thing if kind == "teacher" else registry.teachers.get(thing.teacher), part)
    if not assets and kind == "dataset" and part != "files":
        thing()  # one that a person has to put in its place says so
    if not assets:
        typer.echo(f"{name} needs no download", err=True)
    return assets


def _of_a_method(name: str) -> tuple[Asset, ...]:
    """The published files that a method needs under its default settings."""
    from bench import registry
    from bench.plugin.method import PublishedFile
    from bench.settings import choose_settings

    method = registry.methods.get(name)
    requirements = method.requires(choose_settings(method, "", {}).settings)
    return tuple(wanted.asset for wanted in requirements if isinstance(wanted, PublishedFile))


def _to_measure(teacher: type[Teacher], name: str) -> tuple[Asset, ...]:
    """What a teacher's own protocol needs: the extractor's weights, and published statistics of its data set."""
    from bench.evaluation.plan import plan_evaluation, spec_of
    from bench.runs.recipe import EvaluationOptions

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
