"""``bench eval``: measure anything that generates, or a folder of images, under a protocol."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli.options import (
    Device,
    ExtractorPath,
    Fast,
    Json,
    Plugins,
    Reference,
    Results,
    SourcePath,
    check_format,
    load_plugins,
    names,
    note,
)


def eval_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|FOLDER|teacher:NAME|released:NAME",
            help="A run, its generator's weights, a folder or zip of images, or what is named so.",
        ),
    ],
    metrics: Annotated[str | None, typer.Option(metavar="METRICS", help="fid,is and so on [default: the protocol's].")] = None,
    protocol: Annotated[str | None, typer.Option(help="Evaluation protocol [default: the teacher's].")] = None,
    samples: Annotated[
        int | None, typer.Option("--eval-samples", min=2, metavar="N", help="Images; part of the protocol.")
    ] = None,
    repeats: Annotated[int | None, typer.Option("--eval-repeats", min=1, metavar="R", help="Disjoint seed ranges.")] = None,
    reference: Reference = None,
    extractor_path: ExtractorPath = None,
    fast: Fast = False,
    batch: Annotated[int | None, typer.Option(min=1, metavar="N", help="Images made and measured at once.")] = None,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="Measure the same images by torch-fidelity and clean-fid too.")
    ] = False,
    path: SourcePath = None,
    device: Device = "auto",
    format_: Json = "terminal",
    results: Results = None,
    plugin: Plugins = None,
) -> None:
    """Measure a run, a weights file, a teacher, a released generator or a folder of images; each number has its protocol.

    Example: bench eval teacher:edm-digits --metrics fid,is,recall,latency

    On several GPUs: torchrun --standalone --nproc_per_node 4 -m bench eval released:sid-cifar10-alpha1.2
    """
    check_format(format_)
    load_plugins(plugin)
    import json

    from bench import distributed
    from bench.evaluation.cross_check import cross_check as compare
    from bench.evaluation.cross_check import require_checkable
    from bench.evaluation.evaluator import Evaluator
    from bench.evaluation.target import answer, ask, store
    from bench.files.atomic import require_writable
    from bench.render.terminal.live import progress_bar
    from bench.runs.recipe import EvaluationOptions
    from bench.runs.store import results_folder

    wanted = EvaluationOptions(
        protocol=protocol,
        eval=names(metrics),
        eval_samples=samples,
        eval_repeats=repeats,
        fast=fast,
        reference=reference,
        extractor_path=extractor_path,
    )
    folder = results_folder(results)
    require_writable(folder, "results folder")
    question = ask(source, wanted, folder, device=device, path=path, note=note)
    if cross_check:
        require_checkable(question)
    with distributed.process_group(question.device), progress_bar(f"measuring {source}") as report:
        evaluator = Evaluator(question.measuring, question.device, batch=batch, report=report, note=note)
        content = answer(question, evaluator)
        if cross_check:
            content["cross_check"] = compare(question, evaluator)
    if not distributed.is_main():
        return
    file = store(content, question.source.run if question.source else None, folder)
    if format_ == "json":
        typer.echo(json.dumps(content, indent=1))
        return
    _print(content)
    typer.echo(f"kept as {file}", err=True)


def _print(content: dict[str, Any]) -> None:
    """The numbers with their protocols, whose they are, and what they were compared with."""
    from bench.units import ARROWS, plus_minus, quantity

    protocol = content["protocol"]
    for name, m in content["metrics"].items():
        arrow = ARROWS[protocol["directions"][name]]
        smallest = f"  smallest of {len(m['values'])}: {plus_minus(m['smallest'], None)}" if "smallest" in m else ""
        typer.echo(f"{name + ' ' + arrow:<15} {plus_minus(m['value'], m.get('std')):<16} {m['protocol']}{smallest}")
    for facts in protocol["references"]:
        count = f"{facts['images']:,} images" if facts.get("images") else None
        known = filter(None, (facts.get("dataset"), facts.get("split"), count, f"by {facts['builder']}"))
        typer.echo(f"{'compared with':<15} {', '.join(known)}")
    if content["nfe"] is not None:
        typer.echo(f"{'generator':<15} NFE {content['nfe']}, {quantity(content['parameters'])} parameters")
    rows = content.get("cross_check", [])
    if rows:
        typer.echo(f"\n{'cross-check':<15} {'value':<20} {'by':<53} difference")
    for row in rows:
        whose = f"{row['formula']}, features by {row['features']}"
        typer.echo(f"{row['metric']:<15} {row['value']:<20.8g} {whose:<52} {row['difference']:+.2e}")
