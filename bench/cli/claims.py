"""``bench claims``: the claims of SiD's paper, put to the test."""

import shlex
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import Plugins, Results, one_of, takes
from bench.cli.selection import (
    IncludeSuperseded,
    Selection,
    SelectionFlags,
    comparable,
    known_names,
    nothing_to_show,
    require_known,
    unfinished,
)
from bench.errors import UsageError
from bench.files.atomic import require_writable, write_atomic
from bench.files.paths import written_path
from bench.ranking.claims.evidence import SUBJECT
from bench.ranking.claims.examination import examine
from bench.render.claims import FORMATS, Origin, claims_page
from bench.render.terminal.notes import note
from bench.runs.store import read_records, uncollected


@takes(SelectionFlags)
def command(
    *,
    flags: dict[str, Any],
    include_superseded: IncludeSuperseded = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="md or json [default: FILE's suffix, or md].")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", parser=written_path, metavar="FILE", help="Write to a file."),
    ] = None,
    results: Results,
    plugin: Plugins = None,
) -> None:
    """Put the claims of SiD's paper to the test on the finished runs: each with its criterion, its
    measurements and a verdict.

    Example: bench claims --teacher edm-digits -o claims.md
    """
    form = one_of("format", format_ or _form_of(output), FORMATS)
    if output:
        require_writable(output.parent, "folder")
    selection = Selection.of(flags)
    with uncollected():
        records, skipped = read_records(results)
        require_known(known_names(records), {"teacher": selection.teachers, "method": selection.methods})
        chosen, notes = comparable(records, selection, include_superseded=include_superseded)
        done = [record for record in chosen if record.status == "done" and record.final]
        teachers = selection.teachers or sorted({r.teacher for r in done if r.method == SUBJECT})
        examinations = examine(chosen, teachers or sorted({record.teacher for record in done}))
    note(*skipped, *unfinished(chosen), *notes)
    if not examinations:
        raise nothing_to_show(flags, results, records)
    # Others read the page: it names no folder of this machine.
    given = [word for name, value in flags.items() if value for word in (f"--{name}", str(value))]
    given += ["--include-superseded"] if include_superseded else []
    today = datetime.now(UTC).date().isoformat()
    origin = Origin(shlex.join(["bench", "claims", *given]), today, version("distill-bench"))
    text = claims_page(examinations, origin, form)
    if output:
        write_atomic(output, text + "\n")
        verdicts = [finding.verdict for e in examinations for finding in e.findings]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        typer.echo(f"{output}: {counts}", err=True)
    else:
        typer.echo(text)


def _form_of(output: Path | None) -> str:
    """Return the format that a file's suffix names. Raises UsageError for one that names none."""
    form = "md" if output is None else output.suffix.removeprefix(".")
    if form not in FORMATS:
        raise UsageError(
            f"{str(output)!r} ends with no format; end it with .md or .json, or say --format md."
        )
    return form
