"""The files that a teacher, a data set or another part needs, for ``bench fetch`` and ``bench doctor``."""

import typer

from bench import registry
from bench.errors import UsageError, unknown
from bench.evaluation.plan import plan_evaluation, spec_of
from bench.factory import find_teacher_class
from bench.files.assets import Asset
from bench.plugin.requirement import PublishedFile
from bench.plugin.teacher import Teacher
from bench.runs.options import EvaluationOptions
from bench.settings import choose_settings


def files_needed(name: str) -> tuple[Asset, ...]:
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
    assets = files_of(kind, part)
    if not assets and kind == "dataset" and part != "files":
        registry.datasets.get(part)(None)  # one that a person has to put in its place says so
    if not assets:
        typer.echo(f"{name} needs no download", err=True)
    return assets


def files_of(kind: str, name: str) -> tuple[Asset, ...]:
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
