"""The numbers at the end: against the teacher, against the rivals, and what those needed."""

from dataclasses import dataclass

from bench.ranking.claims.evidence import METRIC, SUBJECT, Entry, Evidence
from bench.ranking.claims.finding import Claim, Finding, Known, Verdict, listed
from bench.ranking.comparison import Ratio
from bench.ranking.convergence import TARGETS, Reach, curve_of, reach

RIVALS = ("diff-instruct", "dmd")
"""The methods that it must beat here; the paper's tables have these and more."""
KINDS = {
    "RealImages": "real images",
    "TeacherPairs": "the teacher's pairs",
    "PublishedFile": "a published file",
    "StartingGenerator": "a generator to start from",
}
"""What a method requires beside the teacher, in words."""
NEAR = 1.2
"""A method approaches its teacher whose FID is at most so many times the teacher's."""
TEACHER = Claim(
    "teacher",
    "One step approaches or exceeds the teacher",
    "SiD “approaches or even exceeds the FID performance of the original teacher diffusion models”",
    "abstract",
    f"supported if one network evaluation gives an FID of which the ratio to the teacher's lies at or below "
    f"{NEAR:g} with its 95 % interval; contradicted if that lies above {NEAR:g}.",
)
DATA_FREE = Claim(
    "data-free",
    "No data is needed",
    "“an innovative data-free method”, “eliminating the need for real data or reverse-diffusion-based "
    "generation”",
    "abstract",
    "supported if no run of SiD required real images or images made by the teacher beforehand, by its "
    "record; contradicted if one did.",
)
MATCHED = Claim(
    "matched-compute",
    "Better than Diff-Instruct and DMD at matched compute",
    "SiD “surpasses competing distillation approaches, whether they are one-step or few-step, data-free, or "
    "dependent on training data, in terms of generation quality”",
    "abstract; compute is not matched there",
    f"supported if SiD's usual row is better than those of {listed(RIVALS)} at the same budget, by the "
    "table's comparison of all its rows (in 95 % of tables no such statement is wrong); contradicted if it "
    "is worse than one of them.",
)


@dataclass(frozen=True)
class Approach:
    """One row beside its teacher."""

    method: str
    nfe: int
    fid: float
    interval: tuple[float, float] | None
    ratio: Ratio | None
    """Of its FID to the teacher's."""
    against_teacher: Known | None
    """By the comparison of all rows."""
    reached: dict[str, dict[str, Reach]]
    """By multiple of the teacher's FID and by axis."""


@dataclass(frozen=True)
class Versus:
    """The paper's method beside another one at the same budget."""

    method: str
    fid: float
    interval: tuple[float, float] | None
    kept: str
    """Seeds that did not get lost, of those tried: ``4/5``."""
    ratio: Ratio | None
    """Of the FID of the paper's method to this one; below 1 the paper's method has the better number."""
    subject_is: Known | None
    """What the comparison of all rows says of the paper's method beside this one."""
    data_free: bool | None
    requires: tuple[str, ...]
    """Kinds of what its runs required beside the teacher."""


def teacher(evidence: Evidence) -> Finding:
    """Judge whether the one-step generator comes near its teacher."""
    found = [_approach(evidence, evidence.entries[i], i) for i in evidence.matched]
    notes = [
        "The interval of a ratio is not widened for the number of pairs, as the words beside it are; better, "
        "worse and open hold for all rows at once.",
        "Images and FLOPs until the FID is first within so many times the teacher's: median over seeds, "
        "by lines on log-log axes; 2/3: two of three seeds came there.",
    ]
    if evidence.subject is None:
        return Finding(TEACHER, "open", evidence.no_subject)
    own = found[0]
    if evidence.target is None:
        return Finding(
            TEACHER,
            "open",
            f"the teacher has no number by this protocol: `bench run --method teacher --teacher "
            f"{evidence.teacher}` with the evaluation flags of these runs.",
            found,
            notes,
        )
    if own.ratio is None:
        return Finding(TEACHER, "open", _too_few(evidence), found, notes)
    low, high, steps = own.ratio.low, own.ratio.high, evidence.entries[evidence.target].row.nfe
    said = (
        f"with {own.nfe} network evaluation{'s' * (own.nfe > 1)} SiD's FID is {own.ratio} "
        f"times that of the teacher with {steps}"
    )
    exceeds = {"better": "it exceeds the teacher", "worse": "it does not exceed the teacher"}
    beyond = exceeds.get(own.against_teacher or "", "whether it exceeds the teacher is open")
    verdict: Verdict = "supported" if high <= NEAR else "contradicted" if low > NEAR else "open"
    if own.nfe > 1:
        verdict = "contradicted"
    return Finding(TEACHER, verdict, f"{said}; {beyond}.", found, notes)


def data_free(evidence: Evidence) -> Finding:
    """Judge by the records whether the method needed data, and say which of its equals did."""
    if evidence.subject is None:
        return Finding(DATA_FREE, "open", evidence.no_subject)
    entry = evidence.entries[evidence.subject]
    free = all(run.data_free for run in entry.runs)
    needs = listed([KINDS.get(kind, kind) for kind in _requires(entry)])
    rivals = [row for row in versus(evidence) if row.subject_is in ("worse", "open")]
    said = f"its {len(entry.runs)} runs required {needs or 'nothing but the teacher'}"
    kinds = {"needed data": False, "needed none": True}
    others = [
        f"{listed(some)} {words}"
        for words, is_free in kinds.items()
        if (some := [row.method for row in rivals if row.data_free is is_free])
    ]
    if others:
        said += f"; of the methods that are better or not told apart, {', and '.join(others)}"
    return Finding(DATA_FREE, "supported" if free else "contradicted", f"{said}.")


def versus(evidence: Evidence) -> list[Versus]:
    """Return the matched rows beside the paper's method, whose own comes first."""
    found = []
    for i in evidence.matched:
        entry = evidence.entries[i]
        found.append(
            Versus(
                entry.name,
                entry.number.mean,
                entry.number.interval,
                entry.kept,
                evidence.ratio(evidence.subject, i),
                evidence.against(evidence.subject, i),
                entry.row.data_free,
                _requires(entry),
            )
        )
    return found


def matched(evidence: Evidence) -> Finding:
    """Judge the paper's method beside the rivals at the same budget."""
    found = versus(evidence)
    if evidence.subject is None:
        return Finding(MATCHED, "open", evidence.no_subject)
    rows = {evidence.entries[i].row.method: row for i, row in zip(evidence.matched, found, strict=True)}
    missing = [method for method in RIVALS if method not in rows]
    words = {"better": "better than", "worse": "worse than", "open": "not told apart from"}
    known = {method: rows[method].subject_is for method in RIVALS if method in rows}
    said = [
        f"SiD is {words[is_]} {rows[method].method}" if is_ else f"{method} or SiD has a single seed"
        for method, is_ in known.items()
    ]
    if missing:
        command = evidence.command(missing)
        said.append(f"{listed(missing)} has no row at SiD's budget: `{command}`")
    verdict: Verdict = "open"
    if "worse" in known.values():
        verdict = "contradicted"
    elif not missing and set(known.values()) == {"better"}:
        verdict = "supported"
    notes = [
        "SiD's FID / its: of geometric means over the seeds; the interval is not widened for the number of "
        "pairs, and its variances are shrunk towards those of all rows. SiD is: by the comparison of "
        "all rows of the table at once. Seeds: those that did not get lost, of those tried.",
    ]
    if evidence.unmatched:
        notes.append(f"Left out, as trained at other budgets alone: {', '.join(evidence.unmatched)}.")
    return Finding(MATCHED, verdict, "; ".join(said) + ".", found, notes)


def _approach(evidence: Evidence, entry: Entry, i: int) -> Approach:
    target = evidence.target
    goal = None if target is None else evidence.entries[target].number.mean
    curves = {axis: [curve_of(run, METRIC, axis) for run in entry.runs] for axis in ("images", "flops")}
    curves = {axis: [curve for curve in own if curve.costs] for axis, own in curves.items()}
    return Approach(
        entry.name,
        entry.row.nfe,
        entry.number.mean,
        entry.number.interval,
        evidence.ratio(i, target),
        entry.number.against_teacher,
        {
            f"{times:g}": {axis: reach(own, times * goal) for axis, own in curves.items() if own}
            for times in TARGETS
            if goal is not None
        },
    )


def _requires(entry: Entry) -> tuple[str, ...]:
    """Return the kinds of what any of the runs required."""
    return tuple(sorted({kind for run in entry.runs for kind in run.requires}))


def _too_few(evidence: Evidence) -> str:
    return (
        "SiD has one seed, or a run has one replicate, so that nothing is known of chance: "
        f"`{evidence.command([SUBJECT])}` with --eval-repeats above 1."
    )
