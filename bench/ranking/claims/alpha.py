"""The weight of SiD's quadratic term: 1.2 against 1.0, everything else equal."""

from dataclasses import dataclass

from bench.ranking.claims.evidence import SUBJECT, Entry, Evidence
from bench.ranking.claims.finding import Claim, Finding, Known, Verdict
from bench.ranking.comparison import Ratio
from bench.ranking.variants import group_of

SETTING = "alpha"
FIRST, BASE = 1.2, 1.0
ALPHA = Claim(
    "alpha",
    "alpha = 1.2 is better than 1.0",
    "alpha = 1.2 is the setting of CIFAR-10, ImageNet 64x64 and FFHQ, and on CIFAR-10 reported ahead of 1.0",
    "tables of results and the official launch files; `bench table --published` has the numbers",
    "supported if SiD with alpha 1.2 is better than with 1.0, everything else equal, by the table's "
    "comparison of all its rows; contradicted if 1.0 is better.",
)


@dataclass(frozen=True)
class Weight:
    """The paper's method with one value of alpha."""

    alpha: float
    fid: float
    interval: tuple[float, float] | None
    kept: str
    """Seeds that did not get lost, of those tried."""
    ratio: Ratio | None
    """Of its FID to that with alpha = 1.0."""
    against: Known | None
    """What is known of it and alpha = 1.0."""


def alpha(evidence: Evidence) -> Finding:
    """Judge alpha by the rows that differ from the usual one in nothing else."""
    if evidence.subject is None:
        return Finding(ALPHA, "open", evidence.no_subject)
    rows = _rows(evidence)
    found = [_weight(evidence, value, i, rows.get(BASE)) for value, i in sorted(rows.items())]
    missing = [value for value in (BASE, FIRST) if value not in rows]
    if missing:
        commands = " and ".join(
            f"`{evidence.command([SUBJECT], f'{SETTING}={value:g}')}`" for value in missing
        )
        said = (
            f"no row has alpha = {' or '.join(f'{value:g}' for value in missing)}; {commands} makes it."
        )
        return Finding(ALPHA, "open", said, found)
    weight = next(weight for weight in found if weight.alpha == FIRST)
    verdicts: dict[str, Verdict] = {"better": "supported", "worse": "contradicted", "open": "open"}
    if weight.against is None or weight.ratio is None:
        return Finding(ALPHA, "open", "one of the two has a single seed.", found)
    said = f"the FID with alpha 1.2 is {weight.ratio} times that with 1.0"
    if weight.against == "open":
        said += f", which {evidence.entries[rows[FIRST]].row.seeds} seeds do not tell apart"
    return Finding(ALPHA, verdicts[weight.against], f"{said}.", found)


def _rows(evidence: Evidence) -> dict[float, int]:
    """Return by alpha the rows that differ from the usual one in nothing else; of several the one of most
    seeds.
    """
    assert evidence.subject is not None
    family = group_of(evidence.entries[evidence.subject].runs[0], but_for=SETTING)
    rows: dict[float, int] = {}
    for i, entry in enumerate(evidence.entries):
        value = _value(entry)
        if value is None or group_of(entry.runs[0], but_for=SETTING) != family:
            continue
        if value not in rows or entry.row.seeds > evidence.entries[rows[value]].row.seeds:
            rows[value] = i
    return rows


def _value(entry: Entry) -> float | None:
    value = entry.runs[0].recipe.settings.get(SETTING)
    return float(value) if isinstance(value, int | float) else None


def _weight(evidence: Evidence, value: float, i: int, base: int | None) -> Weight:
    entry = evidence.entries[i]
    return Weight(
        value,
        entry.number.mean,
        entry.number.interval,
        entry.kept,
        evidence.ratio(i, base),
        evidence.against(i, base),
    )
