"""The gate before any comparison: does a teacher's own FID by this harness come out as its authors
published it?
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import distributed, registry
from bench.errors import UsageError
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.target import evaluate, open_target
from bench.factory import find_teacher_class
from bench.plugin.teacher import ReportedFID
from bench.runs.events import Observer, ignore
from bench.runs.options import EvaluationOptions

TOLERANCE = 0.05
"""Share of the published value. Three times 50,000 images scatter by a percent or two; another
resize moves FID by far more.
"""


@dataclass(frozen=True)
class Verdict:
    """A published FID, the one measured, and whether they agree."""

    published: ReportedFID
    measured: float
    tolerance: float
    content: dict[str, Any]
    """The measurement in full."""

    @property
    def difference(self) -> float:
        """Measured less published, as a share of the published."""
        return self.measured / self.published.fid - 1

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.difference) <= self.tolerance


def reported_fid(name: str) -> ReportedFID:
    """Look up the FID that is published of ``teacher:NAME`` or ``released:NAME``. Raises UsageError
    if nothing is.
    """
    kind, _, rest = name.partition(":")
    if kind not in ("teacher", "released"):
        raise UsageError(
            f"only what has a published FID can be verified, given {name!r}; say teacher:NAME or "
            "released:NAME."
        )
    thing = find_teacher_class(rest)[0] if kind == "teacher" else registry.released.get(rest)
    if thing.published is None:
        raise UsageError(
            f"no FID of {name!r} is known to be published; measure it with `bench eval {name}`."
        )
    return thing.published


def verify(
    name: str,
    results: Path,
    *,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    path: str | None = None,
    classes: int | None = None,
    reference: str | None = None,
    extractor_path: str | None = None,
    batch: int | None = None,
    observe: Observer = ignore,
) -> Verdict:
    """Measure FID by the protocol of the published number, and compare: the smallest of replicates
    where it is one.
    """
    published = reported_fid(name)
    options = EvaluationOptions(
        protocol=published.protocol, eval=["fid"], reference=reference, extractor_path=extractor_path
    )
    target = open_target(
        name, options, results, device=device, path=path, classes=classes, observe=observe
    )
    if (nfe := target.facts()["nfe"]) != published.nfe:
        raise UsageError(
            f"the published FID of {name!r} took NFE {published.nfe}, this takes {nfe}; they do not compare."
        )
    with distributed.process_group(target.device):
        evaluator = Evaluator(target.plan, target.device, batch=batch, observe=observe)
        content = evaluate(target, evaluator)
    fid = content["metrics"]["fid"]
    return Verdict(published, fid.get("smallest", fid["value"]), tolerance, content)
