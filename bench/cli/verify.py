"""``bench verify``: a published FID against this harness, or a run against its repetition."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from bench import distributed
from bench.cli.options import (
    Batch,
    Classes,
    Device,
    ExtractorPath,
    Json,
    Plugins,
    Reference,
    Results,
    SourcePath,
)
from bench.files.atomic import require_writable
from bench.render.terminal.live import progress_bar
from bench.render.terminal.result import print_repetition


def command(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="teacher:NAME|released:NAME|RUN",
            help="What has a published FID; or a run, whose first updates are repeated.",
        ),
    ],
    tolerance: Annotated[
        float, typer.Option(min=0, metavar="0.05", help="Allowed difference, a share.")
    ] = 0.05,
    reference: Reference = None,
    extractor_path: ExtractorPath = None,
    batch: Batch = None,
    path: SourcePath = None,
    classes: Classes = None,
    device: Device = "auto",
    format_: Json = "terminal",
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Measure a teacher's FID by the protocol of its published one, or repeat the first updates
    of a run, and compare. Exit code 1 if they do not agree.

    Of a run the files are compared with its SHA256SUMS, too; --device alone of the options is for it.

    Example: bench verify teacher:edm-digits
    """
    if source.partition(":")[0] not in ("teacher", "released"):
        distributed.require_one("bench verify RUN")
        _verify_run(source, results, device, format_)
        return
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.evaluation.target import write_evaluation
    from bench.evaluation.verify import verify

    require_writable(results, "results folder")
    with progress_bar(f"measuring {source}") as observe:
        verdict = verify(
            source,
            results,
            tolerance=tolerance,
            device=device,
            path=path,
            classes=classes,
            reference=reference,
            extractor_path=extractor_path,
            batch=batch,
            observe=observe,
        )
    if distributed.is_main():
        published = verdict.published
        content = verdict.content | {
            "published": dataclasses.asdict(published),
            "verdict": {
                "measured": verdict.measured,
                "difference": verdict.difference,
                "tolerance": tolerance,
                "passed": verdict.passed,
            },
        }
        file = write_evaluation(content, None, results)
        if format_ == "json":
            typer.echo(json.dumps(content, indent=1))
        else:
            numbers = (
                f"{verdict.measured:.2f} measured, {published.fid:.2f} published ({published.source})"
            )
            within = "within" if verdict.passed else "NOT within"
            protocol = content["protocol"]["id"]
            typer.echo(f"fid {numbers}, {verdict.difference:+.1%}, {within} {tolerance:.1%}; {protocol}")
            typer.echo(f"kept as {file}", err=True)
    if not verdict.passed:
        raise typer.Exit(1)


def _verify_run(name: str, results: Path, device: str, format_: str) -> None:
    from bench.training.repeat import repeat  # torch

    with progress_bar(f"repeating {name}") as observe:
        found = repeat(name, results, device, observe)
    if format_ == "json":
        content = {
            "run_id": found.record.run_id,
            "updates": found.updates,
            "equal": found.equal,
            "changed_files": found.changed_files,
            "elsewhere": found.elsewhere,
        }
        typer.echo(json.dumps(content, indent=1))
    else:
        print_repetition(found)
    lost = found.record.status == "done" and found.changed_files is None
    if lost or found.changed_files or found.equal is False:
        raise typer.Exit(1)
