"""``bench table``: what is marked, chosen, sorted and cited, in formats that other programs read back."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import statistics
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench import registry
from bench.ranking.leaderboard import leaderboard, published_rows
from bench.ranking.published import published
from bench.render.tables.bibtex import cited
from bench.render.tables.table import FORMATS, render
from bench.runs.record import Measurement
from bench.runs.store import read_records
from tests.helpers.records import many_records, record, write

AWKWARD = [
    "a_b",
    "R&D 50%",
    "<script>alert(1)</script>",
    "x|y`*_z_*`",
    r"back\slash{}^~#$",
    "距離 Größe Ж",
    "[x](y)",
    '"q"',
    "\x1b[31m",
]


def seeds(method: str, *fids: float, **facts):
    return [record(method, seed, fid, **facts) for seed, fid in enumerate(fids)]


@pytest.fixture
def runs(tmp_path):
    """SiD is best, DMD tied with it, SiDA worse than both; KD with two evaluations of its network;
    and the teacher.
    """
    made = [
        *seeds("sid", 1.50, 1.60, 1.70, curve=[(0, 300.0), (500, 4.0)]),
        *seeds("dmd", 1.55, 1.65, 1.75, curve=[(0, 300.0), (500, 6.0)], requires=["TeacherPairs"]),
        *seeds("sida", 2.50, 2.55, 2.60, curve=[(0, 300.0), (500, 8.0)], requires=["RealImages"]),
        *seeds("kd", 5.00, 5.10, curve=[(0, 300.0), (500, 9.0)], requires=["TeacherPairs"], nfe=2),
        record("teacher", 0, 1.60, nfe=35),
    ]
    write(made, tmp_path / "runs")
    return made


class Cells(HTMLParser):
    """The text of each cell, and the tags that were met."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


@given(
    st.lists(
        st.text(min_size=1, max_size=12).filter(str.strip) | st.sampled_from(AWKWARD),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_whatever_a_method_is_called_every_format_shows_it_and_nothing_more(names):
    names = [name for name in names if name != "teacher"]
    board = leaderboard([r for name in names for r in seeds(name, 1.0, 1.1)])
    shown = {" ".join("".join(c if c.isprintable() else " " for c in n).split()) for n in names}
    assert {row["method"] for row in json.loads(render(board, "json"))} == set(names)
    assert {row["method"] for row in csv.DictReader(io.StringIO(render(board, "csv"), newline=""))} == {
        n.replace("\r", " ") for n in names
    }

    tokens = MarkdownIt("commonmark").enable("table").parse(render(board, "md"))
    cells = [
        "".join(c.content for c in t.children if c.type == "text") for t in tokens if t.type == "inline"
    ]
    width = 11
    assert set(cells[1 + width : (1 + len(board.rows)) * width : width]) == shown

    page = Cells()
    page.feed(render(board, "html"))
    assert "script" not in page.tags
    assert set(page.cells[1 + width :: width]) == shown

    text = render(board, "latex", ["usual"])
    body = text.split("\\midrule\n")[1].split("\n\\bottomrule")[0].split("\n")
    assert len(body) == len(board.rows)
    for line in body:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == width - 1
        assert not re.search(r"(?<!\\)[#%_]", line)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert "\x1b" not in render(board, "terminal") + render(board, "md") + text


def test_the_best_is_bold_the_second_underlined_and_what_is_tied_with_it_has_a_dagger(bench, runs):
    _, out, _ = bench("table", "--format", "latex", "--columns", "method,rank,fid,nfe,data-free")
    lines = [line for line in out.splitlines() if r"\cite" in line]
    assert lines[0] == r"sid~\cite{zhou2024score} & 1-2 & \textbf{1.60 $\pm$ 0.10} & 1 & yes \\"
    assert (
        lines[2] == r"dmd~\cite{yin2024one} & 1-2 & \underline{1.65 $\pm$ 0.10}$^{\dagger}$ & 1 & no \\"
    )
    assert lines[3] == r"sida~\cite{zhou2025adversarial} & 3 & 2.55 $\pm$ 0.05 & 1 & no \\"
    assert lines[1].startswith("teacher")  # which is not ranked, and not the best
    assert r"$^{\dagger}$ no row is better beyond chance." in out
    assert re.search(
        r"two rows of 3 seeds and typical scatter are told apart four times in five if their FID differs by \d+ \\%",
        out,
    )
    first, *_, tabular = out.partition("\n\\toprule")[0].splitlines()
    assert first == r"% Needs \usepackage{booktabs}; `bench table --bib FILE` writes what is cited."
    assert tabular == r"\begin{tabular}{@{}lrrrr@{}}"
    markdown = bench("table", "--format", "md")[1]
    assert "**1.60 ± 0.10**" in markdown
    assert "<u>1.65 ± 0.10</u><sup>†</sup>" in markdown


def test_filters_choose_rows_and_ranks_are_among_them(bench, runs):
    assert {r["method"] for r in bench.json("table", "--method", "dmd,kd")} == {"dmd", "kd"}
    assert {r["method"] for r in bench.json("table", "--one-step")} == {"sid", "dmd", "sida"}
    assert {r["method"] for r in bench.json("table", "--data-free")} == {"sid", "teacher"}
    assert {r["method"]: r["rank"] for r in bench.json("table", "--method", "sida,kd")} == {
        "sida": "1",
        "kd": "2",
    }
    code, _, err = bench("table", "--method", "sidd")
    assert (code, "did you mean 'sid'" in err) == (2, True)
    code, _, err = bench("table", "--method", "sida", "--data-free")
    assert (code, "with --method sida --data-free;" in err) == (1, True)


def test_columns_and_order_are_chosen_by_name(bench, runs):
    found = bench.json(
        "table",
        "--columns",
        "method,interval,area,to-2x,to-1.2x,to-1x",
        "--sort",
        "-fid",
        "--method",
        "sid,dmd,sida",
    )
    assert [r["method"] for r in found] == ["sida", "dmd", "sid"]
    assert "rank" not in found[0]
    sid = found[-1]
    low, high = (math.log(sid[f"fid_digits-5k_{end}"]) for end in ("low", "high"))
    logs = [math.log(fid) for fid in (1.50, 1.60, 1.70)]
    assert (low + high) / 2 == pytest.approx(statistics.fmean(logs))
    student = 4.303 * statistics.stdev(logs) / 3**0.5  # few rows: by its own seeds alone
    assert (high - low) / 2 == pytest.approx(student, rel=1e-3)
    assert sid["flops_to_1x_reached"] == 2  # the teacher has 1.60, the seeds 1.50, 1.60 and 1.70
    assert sid["flops_to_1x"] == pytest.approx(2000)  # the median of the three
    text = bench("table", "--columns", "method,to-2x,to-1x", "--sort", "to-2x")[1]
    assert re.search(r"sid +\d{3} +2k \(2/3\)", text) or re.search(r"sid +[\d.]+k? +2k \(2/3\)", text)
    assert re.search(r"sida +[\d.]+k +> 2k \(0/3\)", text)
    code, _, err = bench("table", "--columns", "method,fidd")
    assert (code, "unknown column 'fidd'; did you mean 'fid'?" in err) == (2, True)
    assert [r["method"] for r in bench.json("table", "--sort", "nfe")][-2:] == ["kd", "teacher"]
    assert {"fid_digits-5k_evaluation_noise", "fid_digits-5k_tied", "updates"} <= set(
        bench.json("table", "--columns", "all")[0]
    )


def test_a_row_with_a_lost_seed_says_so_and_is_no_tie_of_the_best(bench, tmp_path):
    """f-distill's good seeds are as good as SiD's and one is lost; of dmd one diverged, of cd all."""
    diverged = [record("dmd", 2), *seeds("cd", 9.0, 9.0)]
    for run in diverged:
        run.status, run.error = (
            "failed",
            "training diverged: the loss of the fake step is nan; lower it.",
        )
    made = [*seeds("sid", 1.50, 1.60, 1.70), *seeds("f-distill", 1.55, 1.62, 1.66, 16.0)]
    write([*made, *seeds("dmd", 1.0, 1.1), *diverged, *seeds("scd", 9.0, 9.1, 9.2)], tmp_path / "runs")
    rows = {r["method"]: r for r in bench.json("table", "--columns", "all")}
    assert (rows["f-distill"]["seeds"], rows["f-distill"]["lost"]) == (4, 1)
    assert rows["f-distill"]["fid_digits-5k_median"] == pytest.approx(1.64)
    assert not rows["f-distill"]["fid_digits-5k_tied"]
    ranks = {name: row["rank"] for name, row in rows.items()}
    assert ranks == {"sid": "1-2", "f-distill": "1-3", "scd": "2-3", "dmd": "-", "cd": "-"}
    text = bench("table", "--format", "md")[1]
    assert "**1.60 ± 0.10**" in text  # dmd's mean is lower, of the seeds that came through
    assert "5.21 ± 7.20, median 1.64" in text and "1.05 ± 0.07, median 1.10" in text
    assert "| 3/4 |" in text and "| 2/3 |" in text and "| 0/2 |" in text
    assert "k of n ended within 2 times the best seed of their row" in text
    assert "not known from one replicate" in text
    assert "2/3" in bench("table", "--format", "latex")[1]  # a paper's table has the column then


def test_what_the_seeds_tell_of_the_teacher(bench, tmp_path):
    def measured(method, *fids):
        shift = (-0.01, 0.01, 0.005, -0.005)
        return [record(method, i, f, replicates=[f + d for d in shift]) for i, f in enumerate(fids)]

    made = [
        *measured("sid", 1.0, 1.02, 1.01),
        *measured("dmd", 1.6, 1.5, 1.55),
        *measured("kd", 3.0, 3.1),
    ]
    write([*made, *measured("teacher", 1.55)], tmp_path / "runs")
    rows = {r["method"]: r for r in bench.json("table", "--columns", "method,against-teacher,interval")}
    said = {name: row["fid_digits-5k_against_teacher"] for name, row in rows.items()}
    assert said == {"sid": "better", "dmd": "open", "kd": "worse", "teacher": None}
    assert rows["teacher"]["fid_digits-5k_low"] < 1.55 < rows["teacher"]["fid_digits-5k_high"]


def test_a_point_of_more_steps_is_not_on_the_curve_of_fewer():
    made = record("pd", 0, 2.0, curve=[(500, 1.0), (1000, 3.0)])
    made.evaluations[0].nfe = 4
    row = leaderboard([made, record("teacher", 0, 1.0, nfe=35)]).rows[1]
    assert [found.reached for found in row.reached.values()] == [1, 0, 0]


def test_every_format_is_written_by_the_suffix_of_its_file(bench, runs, tmp_path):
    for suffix, form in {
        "md": "md",
        "tex": "latex",
        "html": "html",
        "csv": "csv",
        "json": "json",
        "txt": "terminal",
    }.items():
        assert bench("table", "-o", str(tmp_path / f"t.{suffix}"))[0] == 0
        assert (tmp_path / f"t.{suffix}").read_text() == bench("table", "--format", form)[1]
    assert bench("table", "-o", str(tmp_path / "t.csv"), "--format", "md")[0] == 0
    assert (tmp_path / "t.csv").read_text().startswith("| teacher")


def test_published_numbers_are_set_apart_and_have_no_rank(bench, tmp_path):
    write([*seeds("sid", 2.0, 2.1, teacher="edm-cifar10"), *seeds("dmd", 1.0, 1.1)], tmp_path / "runs")
    found = bench.json("table", "--published", "--teacher", "edm-cifar10", "--method", "sid,pd")
    assert [r["source"] for r in found] == ["measured"] + ["published"] * (len(found) - 1)
    assert all(r["rank"] == "-" and r["fid_digits-5k"] is None and r["flops"] is None for r in found[1:])
    assert found[0]["fid_published"] is None
    sid = next(r for r in found if r["method"] == "SiD" and r["variant"] == "alpha=1.2")
    assert (sid["fid_published"], sid["verified"], sid["cite"]) == (1.923, True, "zhou2024score")
    assert [r["variant"] for r in found if r["verified"] is False] == ["original paper"]
    assert {r["teacher"] for r in bench.json("table", "--published")} == {
        "edm-cifar10",
        "edm-digits",
    }  # the teachers that have runs
    for form in ("terminal", "md", "latex", "html"):
        text = bench("table", "--published", "--teacher", "edm-cifar10", "--format", form)[1]
        assert "1.923" in text
        assert "published, unverified" in text or form == "latex"  # a paper has no room for sources
        assert "unverified: not seen in the paper" in text
        assert "they take no part in ranks" in text
        assert "mean of 10 evaluations" in text
    assert (
        r"\emph{1.923}"
        in bench("table", "--published", "--teacher", "edm-cifar10", "--format", "latex")[1]
    )


def test_published_numbers_need_no_run(bench):
    found = bench.json("table", "--published", "--one-step", "--data-free", "--teacher", "edm-ffhq64")
    assert [(r["method"], r["fid_published"]) for r in found] == [("SiD", 1.55)]
    assert {r["teacher"] for r in bench.json("table", "--published")} == {
        "edm-cifar10",
        "edm-cifar10-cond",
        "edm-ffhq64",
        "edm-afhqv2",
        "edm-imagenet64",
    }


def test_the_bibliography_has_every_key_that_the_table_cites_once(bench, tmp_path):
    write(
        [*seeds("sid", 2.0, teacher="edm-cifar10"), *seeds("mine", 1.0, teacher="edm-cifar10")],
        tmp_path / "runs",
    )
    bib = tmp_path / "table.bib"
    out, err = bench.ok(
        "table", "--published", "--teacher", "edm-cifar10", "--format", "latex", "--bib", str(bib)
    )
    keys = re.findall(r"^@\w+\{([^,]+),", bib.read_text(), re.MULTILINE)
    assert set(re.findall(r"\\cite\{([^}]+)\}", out)) == set(keys)
    assert len(keys) == len(set(keys)) > 10
    assert (
        "Zhou, Mingyuan and Zheng, Huangjie" in bib.read_text()
    )  # the method's own card has the full names
    assert "no BibTeX is known of mine" in err


def test_half_written_newer_and_empty_records_are_named_and_skipped(bench, runs, tmp_path):
    folder = tmp_path / "runs"
    for name, text in {
        "half": (folder / "00000" / "record.json").read_text()[:300],
        "newer": '{"schema": 2, "all": "different"}',
        "bare": '{"run_id": "x", "method": "sid", "teacher": "t", "seed": 0, "recipe": {}, "recipe_hash": "", "status": "done"}',
        "empty": "",
    }.items():
        (folder / name).mkdir()
        (folder / name / "record.json").write_text(text)
    (folder / "folder" / "record.json").mkdir(parents=True)
    (folder / "stray.txt").write_text("x")
    out, err = bench.ok("table", "--format", "json")
    assert len(json.loads(out)) == 5
    for name in ("half", "bare", "empty"):
        assert f"{name}/record.json is damaged" in err
    assert "newer/record.json has schema 2, this suite reads up to 1" in err
    assert "without cost.images" in err
    assert "folder/record.json is damaged (it is a folder, expected a file)" in err
    assert "stray" not in err


def test_a_table_of_a_thousand_runs_has_a_row_for_each_of_their_groups(tmp_path):
    """How long ten thousand take is measured by benchmarks/tables.py."""
    write(many_records(1_000), tmp_path / "runs")
    records, skipped = read_records(tmp_path / "runs")
    board = leaderboard(records)
    assert (len(records), len(skipped), len(board.rows)) == (1_000, 0, 334)
    assert all("sid" in render(board, form) for form in FORMATS)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex and booktabs")
def test_pdflatex_sets_whatever_a_method_is_called_with_every_column(tmp_path):
    made = [
        r
        for i, name in enumerate([*AWKWARD, "*star", "sid"])
        for r in seeds(name, 1 + i / 10, 1.5, teacher="edm-cifar10")
    ]
    others = published_rows(published().results, published().shown_under(["edm-cifar10"]))
    board = cited(
        leaderboard([*made, record("teacher", 0, 1.0, teacher="edm-cifar10", nfe=35)], published=others)
    )
    typeset(render(board, "latex", ["all"]), tmp_path)


def typeset(table: str, folder) -> str:
    """Set a table in an article by pdfLaTeX, with a number for each citation, and return the log."""
    (folder / "table.tex").write_text(table, encoding="utf-8")
    document = (
        r"\documentclass{article}\usepackage{booktabs}\renewcommand{\cite}[1]{[12]}"
        r"\begin{document}\noindent\input{table}\end{document}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", document]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout[-1000:]
    return done.stdout


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex and booktabs")
@pytest.mark.parametrize("with_published", [False, True])
def test_the_columns_of_a_paper_fit_its_page(tmp_path, with_published):
    methods = [name for name in registry.methods.entries() if name != "teacher"]
    made = [
        r
        for i, name in enumerate(methods)
        for r in seeds(name, 10.5 + i, 12.5, teacher="edm-cifar10", protocol="edm-50k")
    ]
    for r in made:
        r.protocols["edm-50k"].directions |= {"is": "higher", "recall": "higher"}
        for name, value in {"is": 10.05, "recall": 0.55}.items():
            r.evaluations[-1].metrics[name] = Measurement(value=value, std=0.1, protocol="edm-50k")
            r.final[name] = value
    others = published_rows(published().results, published().shown_under(["edm-cifar10"]))
    board = cited(leaderboard(made, published=others if with_published else ()))
    text = render(board, "latex")
    assert "IS" in text
    assert "RECALL" not in text
    assert r"Overfull \hbox" not in typeset(text, tmp_path)
    assert r"Overfull \hbox" in typeset(render(board, "latex", ["all"]), tmp_path)
