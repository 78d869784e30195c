"""``bench train``: make again a network that this project ships."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Plugins
from bench.files.paths import written_path
from bench.render.terminal.live import progress_bar


def command(
    name: Annotated[str, typer.Argument(help="Teacher or extractor, such as edm-digits or digits.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            parser=written_path,
            help="File to write [default: NAME.safetensors here].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images to train on [default: as for the shipped weights].")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, auto, cuda or cuda:N; a GPU gives other weights than the shipped.")
    ] = "cpu",
    plugin: Plugins = None,
) -> None:
    """Train an embedded network from nothing; the same machine gives the same weights
    again, to the bit. What was stopped is continued by the same command.

    Example: bench train edm-digits -o edm-digits.safetensors
    """
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.environment import choose_device
    from bench.training.embedded import train_network

    output = output or Path(f"{name}.safetensors")
    with progress_bar(f"training {name}") as observe:
        summary = train_network(
            name, output, seed=seed, images=images, device=choose_device(device), observe=observe
        )
    typer.echo(f"{output}: {summary}")
