"""``bench eval``: measure anything that generates under a protocol."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli.options import Device, Json, Plugins, Results, SourceName, SourcePath, check_format, load_plugins


def eval_(
    source: SourceName,
    metrics: Annotated[str | None, typer.Option(metavar="METRICS", help="fid,is and so on [default: the protocol's].")] = None,
    protocol: Annotated[str | None, typer.Option(help="Evaluation protocol [default: the teacher's].")] = None,
    samples: Annotated[
        int | None, typer.Option("--eval-samples", min=2, metavar="N", help="Images; part of the protocol.")
    ] = None,
    repeats: Annotated[int | None, typer.Option("--eval-repeats", min=1, metavar="R", help="Disjoint seed ranges.")] = None,
    path: SourcePath = None,
    device: Device = "auto",
    format_: Json = "terminal",
    results: Results = None,
    plugin: Plugins = None,
) -> None:
    """Measure a run, a weights file, a teacher, or a released generator; each number comes with its protocol.

    Example: bench eval teacher:edm-digits --metrics fid,is
    """
    check_format(format_)
    load_plugins(plugin)
    from bench.checkpoint import tensors_digest
    from bench.render.live import progress_bar
    from bench.render.numbers import plus_minus
    from bench.source import measure_source, open_source, require_measurable
    from bench.store import results_folder

    wanted = [name.strip() for name in metrics.split(",")] if metrics else None
    require_measurable(source, protocol, wanted, samples)
    generator = open_source(source, results_folder(results), device=device, path=path)
    if generator.note:
        typer.echo(f"note: {generator.note}", err=True)
    with progress_bar(f"measuring {source}, NFE {generator.nfe}") as report:
        measured = measure_source(generator, protocol, wanted, samples, repeats, report)
    if format_ == "json":
        import json

        facts: dict[str, Any] = {"source": source, "nfe": generator.nfe, "digest": tensors_digest(generator.network.state_dict())}
        typer.echo(json.dumps(facts | {"metrics": {k: m.model_dump() for k, m in measured.items()}}, indent=1))
        return
    for name, m in measured.items():
        typer.echo(f"{name:<10} {plus_minus(m.value, m.std):<16} {m.protocol}  NFE {generator.nfe}")
