"""Text in a terminal: as it is, and tables where a value is never cut."""

import os
from contextlib import suppress

from rich.console import Console
from rich.table import Table

_UNLIMITED = 10_000
"""Characters in a line, more than anything here takes."""


class _Terminal(Console):
    """A console whose reader may go away: what it shows is no reason to end a run."""

    def on_broken_pipe(self) -> None:
        """Fall silent, where rich would end the process."""
        self.quiet = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)


def terminal(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Open the terminal on stdout or stderr, which a ``quiet`` one leaves as it is. Square brackets and
    colons in a name are no markup there. A pipe or a file has no width at which to fold or cut.
    """
    console = _Terminal(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNLIMITED
    return console


def uncut(table: Table) -> str:
    """Write a table at its natural width, however narrow the terminal."""
    console = terminal()
    console.width = max(
        console.width, console.measure(table, options=console.options.update(width=1000)).maximum
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
