"""What people look at: tables with awkward names, numbers as they read them, the display, and the
pictures.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.table import Table

import bench as suite
from bench.evaluation.pictures import save_samples
from bench.ranking.rows import Leaderboard, MetricColumn, Number, Row
from bench.render.figures.figure import save_curve
from bench.render.tables.table import render
from bench.render.terminal.live import RunObserver, progress_bar
from bench.render.terminal.result import print_result
from bench.render.terminal.text import terminal
from bench.runs.events import Note, Started, Working
from bench.runs.store import results_folder
from bench.units import clock, duration, plus_minus, quantity
from tests.helpers.records import record

FID = MetricColumn("fid", "digits-5k@0", "digits-5k", "lower")
AWKWARD = r"a_b & 50% <script> | $x^2$ ~ \Größe 距離"


def board(method: str = AWKWARD) -> Leaderboard:
    row = Row(
        "t_1",
        method,
        "alpha=1.0, lr=1",
        3,
        1,
        True,
        8,
        5e5,
        2e3,
        1.4e12,
        40.0,
        {FID: Number(1.234, 0.056, (1.2, 1.234, 1.268))},
    )
    return Leaderboard([FID], [row])


def test_awkward_names_survive_every_format():
    assert next(csv.DictReader(io.StringIO(render(board(), "csv"))))["method"] == AWKWARD
    assert json.loads(render(board(), "json"))[0]["method"] == AWKWARD
    header, _, row = render(board(), "md").splitlines()
    assert len(re.findall(r"(?<!\\)\|", row)) == header.count("|")
    latex = render(board(), "latex")
    for escaped in (
        r"a\_b",
        r"\&",
        r"50\%",
        r"\$x\textasciicircum{}2\$",
        r"\textasciitilde{}",
        r"\textbackslash{}Größe",
    ):
        assert escaped in latex
    header, row = (latex.split(rule)[1].strip().splitlines()[0] for rule in (r"\toprule", r"\midrule"))
    assert len(re.findall(r"(?<!\\)&", row)) == header.count("&")


@pytest.mark.parametrize("width", [20, 80, 200])
def test_no_number_is_cut_however_narrow_the_terminal(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    text = render(board("sid"), "terminal")
    for cell in ("1.23 ± 0.06", "500k", "1.4T", "40 s"):
        assert cell in text


def test_a_pipe_has_no_width_at_which_to_fold_or_cut(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(box=None, show_header=False)
    table.add_row("left " * 100, "right " * 100)
    terminal().print(table)
    terminal().print("word " * 300)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["left"] * 100 + ["right"] * 100,
        ["word"] * 300,
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1k"),
        (512_000, "512k"),
        (1.364e12, "1.36T"),
        (2.1e15, "2.1P"),
        (8192, "8.19k"),
    ],
)
def test_quantities(value, text):
    assert quantity(value) == text


def test_means_and_durations():
    assert plus_minus(1.4, 0.05) == "1.40 ± 0.05"
    assert plus_minus(0.0123, None) == "0.0123"
    assert plus_minus(0.00043, 0.00012) == "0.000430 ± 0.000120"
    assert plus_minus(0.00047, 0.00012) == "0.000470 ± 0.000120"
    assert plus_minus(-0.0000312, 0.0001) == "-0.000031 ± 0.000100"
    assert plus_minus(-3e-12, None) == "0.000000000"
    assert plus_minus(0.0, None) == "0.0000"
    assert plus_minus(-0.004, 0.02) == "-0.0040 ± 0.0200"
    assert plus_minus(12.0, 0.001) == "12.00 ± 0.00"
    assert [duration(s) for s in (48, 720, 11_520, 1e8)] == ["48 s", "12 min", "3.2 h", "1,157 days"]
    assert [clock(s) for s in (48, 725, 11_520)] == ["0:48", "12:05", "3:12:00"]


def test_sample_grids_keep_the_images(tmp_path):
    """A 1x8x8 image is enlarged without smoothing: every block of the picture is one of its 256 levels."""
    images = torch.arange(64).reshape(1, 1, 8, 8).repeat(5, 1, 1, 1) / 127.5 - 1
    save_samples(images, tmp_path / "grid.png", columns=2)
    picture = Image.open(tmp_path / "grid.png")
    assert picture.size == (2 * 70 + 6, 3 * 70 + 6)
    assert [picture.getpixel((6 + 8 * i + 4, 6 + 4))[0] for i in range(8)] == list(range(8))
    colour = torch.stack([torch.ones(40, 40), -torch.ones(40, 40), torch.zeros(40, 40)])[None]
    save_samples(colour, tmp_path / "colour.png")
    assert Image.open(tmp_path / "colour.png").getpixel((10, 10)) == (255, 0, 128)


def test_the_curve_is_drawn_from_the_record(tmp_path):
    record = suite.run(
        "sid", "edm-digits", settings={"batch": 64}, budget="images=2k", eval_samples=60, eval_repeats=1
    )
    path = save_curve(record, None, results_folder() / record.run_id)
    assert Image.open(path).size[0] > 800
    unmeasured = suite.run("sid", "edm-digits", settings={"batch": 64}, budget="images=1k", eval=[])
    assert save_curve(unmeasured, None, results_folder() / unmeasured.run_id) is None


ODD = ["[exp1]", "z[/bold]", "[red]x", "[link=a]", "\\[x]", "[/]", ":smile:"]


@pytest.mark.parametrize("odd", ODD)
def test_square_brackets_are_text(odd, capsys, tmp_path):
    """In paths, names of methods and notes; on a terminal and off it."""
    run = record(f"ours {odd}").model_copy(update={"run_id": f"id{odd}"})
    print_result(run, tmp_path / odd, None)
    terminal().print(f"note {odd}")
    out = capsys.readouterr().out
    assert f"note {odd}" in out
    assert f"{tmp_path / odd / run.run_id}" in out.replace("\n", "")
    with RunObserver() as observer:
        observer.console = terminal(stderr=True)
        observer(Started(run, trains=True, teacher=None))
        observer(Note(f"note {odd}"))
        observer(Working(f"what {odd}", 1, 2))
    with progress_bar(f"doing {odd}") as observe:
        observe(Working("measuring", 1, 2, f"detail {odd}"))
    assert f"note {odd}" in capsys.readouterr().err


def test_one_place_opens_the_terminal():
    """A console of rich's own reads square brackets as markup."""
    product = Path(__file__).parents[2] / "bench"
    opening = [f.name for f in product.rglob("*.py") if re.search(r"\bConsole\(", f.read_text())]
    assert opening == ["download.py"]


def test_a_reader_that_goes_away_ends_nothing():
    """Where rich by itself would end the process, and with it a run."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as nobody:
        console = terminal()
        console.file = nobody
        console.print("x" * 100_000)
        console.print("more")
    assert console.quiet
