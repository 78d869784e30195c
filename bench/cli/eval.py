"""``bench eval``: measure anything that generates, or a folder of images, under a protocol."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import distributed
from bench.cli.options import (
    Batch,
    Classes,
    Device,
    EvaluationFlags,
    Json,
    Plugins,
    Results,
    SourcePath,
    name_or_path,
    takes,
)
from bench.errors import UsageError
from bench.files.atomic import require_writable
from bench.files.streams import stdout_to_stderr
from bench.render.terminal.live import progress_bar
from bench.render.terminal.notes import observe_notes
from bench.render.terminal.result import print_evaluation, print_milestones
from bench.runs.events import ignore
from bench.runs.exported import exported_weights
from bench.runs.options import EvaluationOptions
from bench.runs.recipe import checked
from bench.runs.store import find_run


@takes(EvaluationFlags)
def command(
    source: Annotated[
        str,
        typer.Argument(
            parser=name_or_path,
            metavar="RUN|FILE|FOLDER|teacher:NAME|released:NAME",
            help="A run, its generator's weights, a folder or zip of images, or what is named so.",
        ),
    ],
    *,
    flags: dict[str, Any],
    batch: Batch = None,
    check: Annotated[
        bool,
        typer.Option(
            "--cross-check", help="Measure the same images by torch-fidelity and clean-fid too."
        ),
    ] = False,
    all_checkpoints: Annotated[
        bool,
        typer.Option(
            "--all-checkpoints",
            help="Of a run made with --milestones: measure it at every point of them.",
        ),
    ] = False,
    path: SourcePath = None,
    classes: Classes = None,
    device: Device = "auto",
    format_: Json = "terminal",
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Measure a run, a weights file, a teacher, a released generator or a folder of images;
    each number has its protocol.

    Example: bench eval teacher:edm-digits --metrics fid,is,recall,latency

    On several GPUs: torchrun --standalone --nproc_per_node 4 -m bench eval released:sid-cifar10-alpha1.2
    """
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.evaluation.cross_check import cross_check, require_checkable
    from bench.evaluation.evaluator import Evaluator
    from bench.evaluation.target import evaluate, open_target, run_folder, write_evaluation

    options = checked(EvaluationOptions, flags, "the evaluation")
    if not options.measures:
        raise UsageError(
            "an evaluation without metrics measures nothing; give some, such as --metrics fid,is."
        )
    if check and all_checkpoints:
        raise UsageError(
            "--cross-check and --all-checkpoints do not go together; leave one of them out."
        )
    require_writable(results, "results folder")
    contents: list[dict[str, Any]] = []
    milestones = _milestones(source, results) if all_checkpoints else {}
    for name in milestones or [source]:
        with stdout_to_stderr():
            target = open_target(
                name,
                options,
                results,
                device=device,
                path=path,
                classes=classes,
                observe=ignore if contents else observe_notes,
            )
        if check:
            require_checkable(target)
        with (
            stdout_to_stderr(),
            distributed.process_group(target.device),
            progress_bar(f"measuring {name}") as observe,
        ):
            evaluator = Evaluator(target.plan, target.device, batch=batch, observe=observe)
            content = evaluate(target, evaluator)
            if all_checkpoints:
                content["images"] = milestones[name]
            if check:
                content["cross_check"] = cross_check(target, evaluator)
        if distributed.is_main():
            contents.append(content)
            file = write_evaluation(content, run_folder(target), results)
            if format_ != "json":
                typer.echo(f"kept as {file}", err=True)
    if format_ == "json" and contents:
        typer.echo(json.dumps(contents if all_checkpoints else contents[0], indent=1))
    elif all_checkpoints and contents:
        print_milestones(list(milestones.values()), contents)
    elif contents:
        print_evaluation(contents[0])


def _milestones(run: str, results: Path) -> dict[str, int]:
    """Return the weights files of a run's milestones with the images at which they were kept. Raises
    UsageError for a run without any.
    """
    place = Path(run)
    if place.is_file() or exported_weights(place) or (":" in run and not place.exists()):
        raise UsageError(f"--all-checkpoints is for a run, given {run!r}; leave it out.")
    folder, record = find_run(run, results)
    if not (files := folder.milestones()):
        raise UsageError(
            f"the run {record.run_id} kept no weights along the way; make it with --milestones."
        )
    return {str(file): int(file.stem.rpartition("-")[2]) for file in files}
