"""The page of the claims: what was found of each on each teacher, as Markdown or JSON."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.ranking.claims.alpha import Weight
from bench.ranking.claims.axes import ORDER, Standing
from bench.ranking.claims.examination import Examination
from bench.ranking.claims.fall import Fall
from bench.ranking.claims.finding import Finding
from bench.ranking.claims.quality import KINDS, Approach, Versus
from bench.ranking.comparison import Ratio
from bench.ranking.convergence import Reach
from bench.render.tables.column import NONE
from bench.render.tables.markdown import escaped, markdown
from bench.render.tables.sheet import Cell, Section, Sheet
from bench.units import plus_minus, quantity, short_budget

FORMATS = ("md", "json")
Column = tuple[str, Callable[[Any], str]]
"""The title of a column, and the text of its cell in a row."""


@dataclass(frozen=True)
class Origin:
    """How a page was made."""

    command: str
    date: str
    version: str
    """Of the suite."""


def claims_page(examinations: Sequence[Examination], origin: Origin, form: str) -> str:
    """Write what was found in one of ``FORMATS``: a summary, and a section for each teacher."""
    if form == "json":
        teachers = [asdict(examination) for examination in examinations]
        return json.dumps({**asdict(origin), "teachers": teachers}, indent=1, allow_nan=False)
    parts = [
        "# The claims of SiD's paper, put to the test",
        "Score identity Distillation: Zhou, Zheng, Wang, Yin, Huang, ICML 2024, arXiv 2404.04057. Each claim "
        "has its criterion, the same for every teacher, and the measurements that support or contradict it. "
        "Open: the runs cannot tell. Intervals are 95 %.",
        f"Made by `{origin.command}` on {origin.date} with distill-bench {escaped(origin.version)}.",
        _summary(examinations),
    ]
    for examination in examinations:
        parts += [f"## {escaped(examination.teacher)}", _basis(examination)]
        for finding in examination.findings:
            parts += _section(finding)
    return "\n\n".join(parts)


def _summary(examinations: Sequence[Examination]) -> str:
    """Return the table of verdicts: claims by teachers."""
    claims = [finding.claim.title for finding in examinations[0].findings] if examinations else []
    rows = [[title, *(e.findings[i].verdict for e in examinations)] for i, title in enumerate(claims)]
    return _table(["claim", *(e.teacher for e in examinations)], rows, words=1 + len(examinations))


def _basis(examination: Examination) -> str:
    """Return sentences on the runs that the findings rest on."""
    if not examination.runs:
        return "No finished run has measured an FID."
    seeds = ", ".join(map(str, examination.seeds)) or "none"
    said = f"{examination.column}, {examination.runs} finished runs of the training seeds {seeds}"
    said += f", SiD's budget {short_budget(examination.budget)}" if examination.budget else ""
    said += f". Methods: {', '.join(examination.methods) or 'none'}."
    commits = [commit[:10] + ("-dirty" if "dirty" in commit else "") for commit in examination.commits]
    return escaped(said + (f" Made by commit {', '.join(dict.fromkeys(commits))}." if commits else ""))


def _section(finding: Finding) -> list[str]:
    """Return the paragraphs of one claim on one teacher."""
    claim = finding.claim
    parts = [
        f"### {escaped(claim.title)}: {finding.verdict}",
        f"The paper: {_prose(claim.says)} ({_prose(claim.place)}).",
        f"Criterion: {_prose(claim.criterion)}",
        f"**{finding.verdict.capitalize()}**: {_prose(finding.reason)}",
    ]
    if finding.measurements:
        columns = _COLUMNS[type(finding.measurements[0])]
        rows = [[text(row) for _, text in columns] for row in finding.measurements]
        parts.append(_table([title for title, _ in columns], rows))
    if finding.notes:
        parts.append("\n".join(f"- {_prose(note)}" for note in finding.notes))
    return parts


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first columns, so many, hold words."""
    cells = [[Cell(text) for text in row] for row in rows]
    of_words = [i < words for i in range(len(titles))]
    return markdown(Sheet(list(titles), of_words, [Section("", published=False, rows=cells)]))


def _prose(text: str) -> str:
    """Escape a sentence but for the commands between backticks in it."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if i % 2 else escaped(part) for i, part in enumerate(parts))


def _number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _fid(value: float | None) -> str:
    return NONE if value is None else plus_minus(value, None)


def _range(ends: tuple[float, float] | None, text: Callable[[float], str] = _fid) -> str:
    return NONE if ends is None else f"{text(ends[0])} to {text(ends[1])}"


def _ratio(ratio: Ratio | None) -> str:
    return NONE if ratio is None else str(ratio)


def _reach(reach: Reach | None) -> str:
    """Write the cost to a target with how many seeds came there, if not all did."""
    if reach is None:
        return NONE
    share = "" if reach.reached == reach.runs else f" ({reach.reached}/{reach.runs})"
    return (f"> {quantity(reach.spent)}" if reach.cost is None else quantity(reach.cost)) + share


def _reached(times: str, axis: str) -> Column:
    return f"{axis} to {times}x", lambda row: _reach(row.reached.get(times, {}).get(axis))


def _standing(axis: str) -> Column:
    """Return the column of one axis: place and FID."""

    def text(row: Standing) -> str:
        fid, place = row.fid.get(axis), row.place.get(axis)
        return NONE if fid is None else f"{place} ({_fid(fid)})"

    return axis, text


_STEEPER = {"better": "steeper", "worse": "less steep", "open": "open"}
_METHOD: Column = ("method", lambda row: row.method)
_COLUMNS: dict[type, list[Column]] = {
    Fall: [
        _METHOD,
        ("seeds", lambda row: str(row.seeds)),
        ("points", lambda row: str(row.points)),
        ("images", lambda row: _range(row.images, quantity)),
        ("slope", lambda row: _number(row.slope)),
        ("interval", lambda row: _range(row.interval, _number)),
        ("R²", lambda row: _number(row.r2, 3)),
        ("R² exponential", lambda row: _number(row.exponential_r2, 3)),
        ("last FID / continued", lambda row: _ratio(row.continued)),
        ("slope beside SiD's", lambda row: _STEEPER.get(row.steeper, NONE)),
    ],
    Approach: [
        _METHOD,
        ("NFE", lambda row: str(row.nfe)),
        ("FID", lambda row: _fid(row.fid)),
        ("interval", lambda row: _range(row.interval)),
        ("FID / teacher's", lambda row: _ratio(row.ratio)),
        ("against teacher", lambda row: row.against_teacher or NONE),
        *(_reached(times, axis) for times in ("2", "1.2", "1") for axis in ("images", "flops")),
    ],
    Versus: [
        _METHOD,
        ("FID", lambda row: _fid(row.fid)),
        ("interval", lambda row: _range(row.interval)),
        ("seeds", lambda row: row.kept),
        ("SiD's FID / its", lambda row: _ratio(row.ratio)),
        ("SiD is", lambda row: row.subject_is or NONE),
        ("data-free", lambda row: {True: "yes", False: "no"}.get(row.data_free, NONE)),
        ("needs", lambda row: ", ".join(KINDS.get(kind, kind) for kind in row.requires) or NONE),
    ],
    Weight: [
        ("alpha", lambda row: f"{row.alpha:g}"),
        ("FID", lambda row: _fid(row.fid)),
        ("interval", lambda row: _range(row.interval)),
        ("seeds", lambda row: row.kept),
        ("FID / that of 1.0", lambda row: _ratio(row.ratio)),
        ("against 1.0", lambda row: row.against or NONE),
    ],
    Standing: [_METHOD, *map(_standing, ORDER)],
}
