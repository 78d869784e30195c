"""``bench stats``: reference statistics of a data set."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import ExtractorPath, Plugins, name_or_path, names
from bench.files.paths import written_path
from bench.render.terminal.live import progress_bar


def command(
    dataset: Annotated[
        str,
        typer.Argument(
            parser=name_or_path,
            metavar="DATASET|PATH",
            help="Name (`bench list datasets`), or a file or folder.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", parser=written_path, metavar="FILE", help="File to write.")
    ] = Path("reference.safetensors"),
    protocol: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Protocol [default: that of the teachers of this data set]."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="METRICS",
            help="fid,kid,precision and so on, to compare by [default: the protocol's].",
        ),
    ] = None,
    extractor_path: ExtractorPath = None,
    path: Annotated[
        Path | None,
        typer.Option(
            parser=written_path,
            metavar="FILE",
            help="File or folder of the named data set in place of its usual one.",
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            parser=name_or_path,
            metavar="DATASET|PATH",
            help="Real images that are not among these, for memorization and fid-test.",
        ),
    ] = None,
    xflip: Annotated[
        bool, typer.Option("--xflip", help="Add every image mirrored left to right, as EDM does.")
    ] = False,
    max_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N images, chosen by EDM's rule.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, auto, cuda or cuda:N; last bits differ between devices.")
    ] = "cpu",
    plugin: Plugins = None,
) -> None:
    """Write the reference statistics of a data set under a protocol.

    Example: bench stats digits -o digits_reference.safetensors
    """
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.environment import choose_device
    from bench.evaluation.make_reference import write_reference

    with progress_bar(f"measuring {dataset}") as observe:
        description = write_reference(
            dataset,
            output,
            path=path,
            protocol_id=protocol,
            metrics=names(metrics),
            extractor_path=extractor_path,
            held_out=held_out,
            xflip=xflip,
            max_size=max_size,
            plugins=plugin or [],
            device=choose_device(device),
            observe=observe,
        )
    typer.echo(f"{output}: {description}")
