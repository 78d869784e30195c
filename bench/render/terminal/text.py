"""Text in a terminal: as it is, and tables where a value is never cut."""

from rich.console import Console
from rich.table import Table


def terminal(*, stderr: bool = False) -> Console:
    """Open the terminal on stdout or stderr. Square brackets and colons in a name are no markup there."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def uncut(table: Table) -> str:
    """Write a table at its natural width, however narrow the terminal."""
    console = terminal()
    console.width = max(
        console.width, console.measure(table, options=console.options.update(width=1000)).maximum
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
