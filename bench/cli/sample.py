"""``bench sample``: images of a run, of a weights file, of a teacher, or of a released generator."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Classes, Device, Plugins, Results, SourcePath, name_or_path, without_none
from bench.files.atomic import require_writable
from bench.files.paths import written_path
from bench.render.terminal.live import progress_bar
from bench.render.terminal.notes import note
from bench.runs.options import MOST


def command(
    source: Annotated[
        str,
        typer.Argument(
            parser=name_or_path,
            metavar="RUN|FILE|teacher:NAME|released:NAME",
            help="A run, its generator's weights, or what is named so.",
        ),
    ],
    *,
    count: Annotated[int, typer.Option("-n", min=1, max=MOST, help="How many images.")] = 64,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=written_path,
            metavar="FILE|FOLDER",
            help="PNG of all; an npz, npy, pt or zip of each; or an empty folder, for a PNG of each.",
        ),
    ] = Path("grid.png"),
    first_seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**62, help="Seed of the first image; the others follow.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Noise levels, for a teacher [default: its own].")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="heun or euler, for a teacher [default: its own].")
    ] = None,
    churn: Annotated[
        float | None, typer.Option(min=0, help="S_churn, for a teacher; 0 is deterministic.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Images in a row [default: a square].")
    ] = None,
    path: SourcePath = None,
    classes: Classes = None,
    device: Device = "auto",
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Write a grid of samples as a PNG, or each into a file or folder; image i depends on its seed alone.

    Example: bench sample teacher:edm-cifar10 -n 64 --steps 18 -o grid.png
    """
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.evaluation.pictures import require_place, save
    from bench.evaluation.sampling import sample_images
    from bench.factory import open_generator

    require_place(output)
    require_writable(output.parent, "folder")
    seeds = range(first_seed, first_seed + count)
    generator = open_generator(
        source,
        results,
        device=device,
        settings=without_none({"steps": steps, "solver": solver, "churn": churn}),
        path=path,
        classes=classes,
    )
    if generator.teacher.note:
        note(generator.teacher.note)
    with progress_bar(f"sampling {source}, NFE {generator.nfe}") as observe:
        images = sample_images(generator, seeds, observe)
    save(images, output, first_seed, columns)
    typer.echo(
        f"{output}: {count} images of {source}, NFE {generator.nfe}, seeds {seeds.start}-{seeds.stop - 1}"
    )
