"""``bench claims``: a page that Markdown reads as it is meant, and the same in JSON."""

from __future__ import annotations

import itertools
import json

import pytest
from markdown_it import MarkdownIt

from bench.ranking.claims.examination import examine
from bench.render.claims import Origin, claims_page
from tests.helpers.records import record, write

ORIGIN = Origin("bench claims", "2026-11-28", "0.1.0")
CLAIMS = 7


@pytest.fixture
def runs():
    """Three methods of three seeds on two teachers, one of an awkward name, and one of the teachers."""
    curve = [(2**k, 50.0 / (k + 1)) for k in range(1, 8)]
    made = [
        record(method, seed, fid + 0.01 * seed, curve, teacher, replicates=[fid, fid + 0.01])
        for teacher in ("edm-digits", "a|b_*c*")
        for method, fid in (("sid", 1.5), ("dmd", 1.6), ("diff-instruct", 2.5))
        for seed in range(3)
    ]
    return [*made, record("teacher", 0, 1.6, nfe=35, replicates=[1.6, 1.61])]


def test_markdown_has_a_summary_and_a_section_for_each_claim_on_each_teacher(runs):
    page = claims_page(examine(runs, ["edm-digits", "a|b_*c*", "missing"]), ORIGIN, "md")
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    heads = [
        (opened.tag, after.content)
        for opened, after in itertools.pairwise(tokens)
        if opened.type == "heading_open"
    ]
    assert [tag for tag, _ in heads] == ["h1", *["h2", *["h3"] * CLAIMS] * 3]
    verdicts = [text.rpartition(": ")[2] for tag, text in heads if tag == "h3"]
    assert set(verdicts[:CLAIMS]) <= {"supported", "contradicted", "open"}
    assert set(verdicts[-CLAIMS:]) == {"open"}
    cells = [
        "".join(part.content for part in after.children)
        for opened, after in itertools.pairwise(tokens)
        if opened.type in ("th_open", "td_open")
    ]
    assert cells[:4] == ["claim", "edm-digits", "a|b_*c*", "missing"]
    summary = [cells[4 + 4 * i : 8 + 4 * i] for i in range(CLAIMS)]
    assert [row[1] for row in summary] == verdicts[:CLAIMS]
    assert "<" not in page.replace("<sup>", "").replace("</sup>", "")


def test_json_has_the_numbers_of_the_page(runs):
    content = json.loads(claims_page(examine(runs, ["edm-digits"]), ORIGIN, "json"))
    (teacher,) = content["teachers"]
    assert content["date"] == "2026-11-28" and teacher["runs"] == 10 and teacher["seeds"] == [0, 1, 2]
    assert [finding["claim"]["name"] for finding in teacher["findings"]] == [
        "power-law",
        "exponential",
        "teacher",
        "data-free",
        "matched-compute",
        "alpha",
        "axes",
    ]
    assert teacher["findings"][2]["measurements"][0]["ratio"]["estimate"] == pytest.approx(
        1.505 / 1.605, rel=1e-3
    )


def test_the_command_writes_a_page_of_the_chosen_runs(bench, runs, tmp_path):
    write(runs, tmp_path / "runs")
    results = ["--results", tmp_path / "runs"]
    said = bench.ok(
        "claims", "--teacher", "edm-digits", "--method", "sid,dmd", *results, "-o", tmp_path / "c.md"
    )
    page = (tmp_path / "c.md").read_text()
    assert "c.md" in said.err and not said.out
    assert "Made by `bench claims --teacher edm-digits --method sid,dmd` on 20" in page
    assert "7 finished runs of the training seeds 0, 1, 2" in page and str(tmp_path) not in page
    assert json.loads(bench.ok("claims", *results, "--format", "json").out)["teachers"][1]["runs"] == 10


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["-o", "claims.html"], 2, "end it with .md or .json"),
        (["--format", "html"], 2, "unknown format 'html'"),
        (["--teacher", "edm-digit"], 2, "edm-digits"),
        ([], 1, "no finished run"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(bench, tmp_path, flags, code, words):
    found, _, err = bench("claims", *flags, "--results", tmp_path / "none")
    assert found == code and words in err
