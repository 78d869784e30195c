"""``bench sample``: images of a run, of a weights file, or of a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Device, Plugins, Results, load_plugins


def sample(
    source: Annotated[str, typer.Argument(metavar="RUN|FILE|teacher:NAME", help="What to sample.")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="PNG to write.")] = Path("grid.png"),
    first_seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first image; the others follow.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Heun steps, for a teacher.")] = None,
    columns: Annotated[int | None, typer.Option(min=1, help="Images in a row [default: a square].")] = None,
    device: Device = "auto",
    results: Results = None,
    plugin: Plugins = None,
) -> None:
    """Write a grid of samples as a PNG; image i depends on its seed alone.

    Example: bench sample teacher:edm-digits -n 64 --steps 6 -o grid.png
    """
    from bench.files import require_writable
    from bench.sampling import sample_images
    from bench.store import results_folder

    load_plugins(plugin)
    require_writable(output.parent, "folder")
    from bench.render.images import save_samples

    seeds = range(first_seed, first_seed + count)
    images, nfe = sample_images(source, seeds, results_folder(results), device=device, steps=steps)
    save_samples(images, output, columns)
    typer.echo(f"{output}: {count} images of {source}, NFE {nfe}, seeds {seeds.start}-{seeds.stop - 1}")
