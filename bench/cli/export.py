"""``bench export``: a run's generator in a form that others take, with a model card."""

from pathlib import Path
from typing import Annotated

import typer

from bench.api import export
from bench.cli.options import Plugins, Results, SourcePath, name_or_path, one_of
from bench.files.paths import written_path
from bench.runs.exported import FORMS


def _form(text: str) -> str:
    return one_of("form", text, FORMS)


def command(
    source: Annotated[
        str,
        typer.Argument(
            parser=name_or_path, metavar="RUN|FILE", help="A run, or its generator's weights."
        ),
    ],
    *,
    form: Annotated[
        str, typer.Option("--to", parser=_form, metavar="FORM", help=f"{', '.join(FORMS)}.")
    ] = "safetensors",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", parser=written_path, metavar="FOLDER", help="A new or empty folder."
        ),
    ],
    path: SourcePath = None,
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Write a run's generator into a new folder as safetensors, for Hugging Face or as an ONNX
    graph, with its recipe and a model card.

    Example: bench export RUN --to onnx -o my-generator

    Every command that takes a run takes the folder: bench eval my-generator
    """
    folder = export(source, output, form=form, results=results, path=path)
    typer.echo("\n".join(str(file) for file in sorted(folder.iterdir())))
