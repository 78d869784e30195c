"""Sentences that a person should read, on stderr."""

import sys

from bench import distributed
from bench.runs.events import Event, Note


def note(*sentences: str) -> None:
    """Write each sentence as a note, once however many processes there are."""
    for sentence in sentences if distributed.is_main() else ():
        print(f"note: {sentence}", file=sys.stderr, flush=True)


def observe_notes(event: Event) -> None:
    """Observe work by writing its notes alone."""
    if isinstance(event, Note):
        note(event.text)
