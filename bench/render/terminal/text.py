"""Tables in a terminal, where a value is never cut."""

from rich.console import Console
from rich.table import Table


def uncut(table: Table) -> str:
    """Write a table at its natural width, however narrow the terminal."""
    console = Console(highlight=False, markup=False)
    console.width = max(
        console.width, console.measure(table, options=console.options.update(width=1000)).maximum
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
