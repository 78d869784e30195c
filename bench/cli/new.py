"""``bench new``: begin a plugin of your own."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.check import What
from bench.cli.options import Plugins
from bench.errors import UsageError
from bench.files.atomic import write_atomic
from bench.files.paths import written_path

NEXT = {
    "method": "bench run{given} --method {name} --teacher edm-digits --budget images=50k",
    "teacher": "bench eval teacher:{name}{given}",
    "metric": "bench eval teacher:edm-digits{given} --metrics {name}",
    "extractor": "bench eval teacher:edm-digits{given} --protocol {name}-1k",
    "dataset": "bench stats {name}{given} --protocol pixels-5k -o {name}.safetensors",
}
"""What to do first with a new thing."""


def command(
    *,
    what: Annotated[What, typer.Argument(help="Kind of thing.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my-method.")],
    parent: Annotated[
        str, typer.Option("--from", metavar="METHOD", help="Begin a variant of this method.")
    ] = "",
    package: Annotated[
        bool, typer.Option("--package", help="A folder to install, with an entry point and tests.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", parser=written_path, metavar="PATH", help="[default: the name, here]"
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Begin a method, teacher, metric, extractor or data set of your own: a working example of its kind
    under a new name.

    Example: bench new method mine --from sid
    """
    if parent and what is not What.method:
        raise UsageError(f"--from is for methods, given with a {what.value}; leave it out.")
    # Here because of torch, which the help and a mistyped flag do without.
    from bench.scaffold.package import new_package, write_package
    from bench.scaffold.scaffold import module_name, new_plugin

    place = output or Path(name if package else f"{module_name(name)}.py")
    if place.exists():
        raise UsageError(
            f"{str(place)!r} is there already; give another name, or another place by --output."
        )
    if not package and place.suffix != ".py":
        raise UsageError(
            f"--output {str(place)!r} names no Python file; let it end in .py, or add --package for a folder."
        )
    if package:
        write_package(new_package(what.value, name, parent), place)
    else:
        write_atomic(place, new_plugin(what.value, name, parent))
    given = "" if package else f" --plugin {shlex.quote(str(place))}"
    typer.echo(f"wrote      {place}")
    if package:
        typer.echo(f"install:   pip install -e {shlex.quote(f'{place.absolute()}[test]')}")
    typer.echo(f"check it:  bench check {what.value} {name}{given}")
    typer.echo(f"use it:    {NEXT[what.value].format(name=name, given=given)}")
