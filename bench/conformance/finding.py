"""Checks and findings: a check is a function whose docstring is the fact that it looks at."""

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import BenchError, one_line
from bench.files.assets import Asset

Check = Callable[[Any], None]
"""Looks at a subject, and raises Fault, Doubt or NotApplicable if there is something to say."""
Outcome = Literal["passed", "failed", "warning", "skipped"]


class Fault(Exception):
    """A thing breaks its contract: the reason says what was observed and what was expected, the remedy what
    to do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}.")
        self.reason, self.remedy = reason, remedy


class Doubt(Fault):
    """As a Fault, but of what may be as its author wants it."""


class NotApplicable(Exception):
    """The fact does not concern this thing, for the reason given."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    """Its name, such as ``same-seed-same-weights``."""
    fact: str
    """The fact, as a sentence."""
    outcome: Outcome
    reason: str = ""
    """What was observed and what was expected; empty if the fact holds."""
    remedy: str = ""
    """What to do."""

    @property
    def sentence(self) -> str:
        """The reason and the remedy as one sentence."""
        return "; ".join(filter(None, (self.reason, self.remedy))).rstrip(".") + "."


def require_at_hand(assets: Iterable[Asset], what: str) -> None:
    """Raise Fault for a file that ``what``, as in ``teacher:NAME``, needs and that is not in the cache."""
    for asset in assets:
        if not asset.path.exists():
            raise Fault(f"it needs {asset.file}, which is not here", f"fetch it by `bench fetch {what}`")


def name_of(check: Check) -> str:
    """The name of a check, as people see it."""
    return check.__name__.replace("_", "-")


def look(check: Check, subject: Any) -> Finding:
    """Carry out one check. Whatever it raises becomes a finding."""
    fact = " ".join((inspect.getdoc(check) or "").split("\n\n")[0].split())
    reason = remedy = ""
    outcome: Outcome = "passed"
    try:
        check(subject)
    except NotApplicable as why:
        outcome, reason = "skipped", str(why)
    except Fault as fault:
        outcome = "warning" if isinstance(fault, Doubt) else "failed"
        reason, remedy = fault.reason, fault.remedy
    except BenchError as error:  # a sentence with its remedy
        outcome, reason = "failed", str(error)
    except Exception as error:  # of the plugin's own code, which may fail in any way
        outcome = "failed"
        reason = f"it raises {type(error).__name__} at {_place(error)}: {one_line(error, 300)}"
        remedy = "mend that line, and check again"
    return Finding(name_of(check), fact, outcome, reason, remedy)


def examine(gates: Iterable[Check], checks: Iterable[Check], subject: Any) -> Iterator[Finding]:
    """Carry out checks in order. A gate that fails ends it: the rest could only fail for the same reason."""
    for gate in gates:
        yield (finding := look(gate, subject))
        if finding.outcome == "failed":
            return
    for check in checks:
        yield look(check, subject)


def _place(error: BaseException) -> str:
    """The last line of a plugin's own code on the way to an error, or else the last one."""
    frames = traceback.extract_tb(error.__traceback__)
    suite = Path(__file__).parents[1]
    own = [
        f for f in frames if suite not in Path(f.filename).parents and "site-packages" not in f.filename
    ]
    frame = (own or list(frames))[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"
