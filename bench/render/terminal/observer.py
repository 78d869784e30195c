"""The observer of runs at a terminal: a display for each run that works."""

from typing import Self

from bench.render.terminal.live import Display, print_dim
from bench.runs.events import Event, Finished, Note, Started


class RunObserver:
    """Observes runs for a person at a terminal. As a context it takes the display down at the end."""

    def __init__(self) -> None:
        self.display: Display | None = None
        self.worked = False
        """Whether any run did more than answer from its record."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.display is not None:
            self.display.close()
            self.display = None

    def __call__(self, event: Event) -> None:
        """Open a display for a run that starts, show in it what comes, and close it when the run is
        done.
        """
        match event:
            case Started():
                self.worked = True
                self.__exit__()
                self.display = Display(event)
            case Finished():
                self.__exit__()
            case _ if self.display is not None:
                self.display(event)
            case Note():
                print_dim(event.text)
