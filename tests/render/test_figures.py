"""Figures of a comparison: their lines and bands are the numbers of the records, whatever the names
in them.
"""

from __future__ import annotations

import io
import math
import statistics
import warnings
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from bench.cli.selection import Selection
from bench.evaluation.pictures import save_samples
from bench.ranking.curves import Comparison, comparisons
from bench.render.figures.paper import FORMATS, WIDTHS, encoded, looks, paper_style, printable
from bench.render.figures.plot import draw
from bench.render.figures.side_by_side import side_by_side
from bench.runs.folder import RunFolder
from bench.runs.record import Evaluation, Measurement, Record
from bench.runs.store import results_folder

AWKWARD = "_a & 50% <script>alert('x')</script> $x^2 $\\frac{1}{0} \\Größe 距離\x00\n"
METHODS = [
    "cd",
    "diff-instruct",
    "dmd",
    "dmd2",
    "ect",
    "f-distill",
    "kd",
    "pd",
    "scd",
    "sid",
    "sid2a",
    "sida",
    "sim",
]


def run(
    method: str = "sid",
    seed: int = 0,
    fid: tuple[float, ...] = (50.0, 8.0, 4.0, 2.0),
    nfe: tuple[int, ...] = (1, 1, 1, 1),
    teacher: str = "edm-digits",
    protocol: str = "digits-5k",
    speed: float = 1.0,
    updates: tuple[int, ...] = (0, 10, 20, 40),
    direction: str = "lower",
    status: str = "done",
    digest: str = "d",
    **settings: object,
) -> Record:
    """A record of a run that never was, with a point after each of ``updates``; it is put in the
    results folder too.
    """
    points = [
        Evaluation(
            images=100 * u,
            updates=u,
            flops=10**9 * u,
            seconds=speed * u,
            samples=5000,
            nfe=n,
            metrics={"fid": Measurement(value=value, protocol=protocol)},
        )
        for u, value, n in zip(updates, fid, nfe, strict=True)
    ]
    last = points[-1]
    apart = repr(
        (method, seed, fid, nfe, teacher, protocol, speed, updates, direction, digest, settings)
    )
    record = Record(
        run_id=f"run-{zlib.crc32(apart.encode())}",
        method=method,
        teacher=teacher,
        seed=seed,
        status=status,
        recipe={
            "method": method,
            "teacher": teacher,
            "seed": seed,
            "budget": "updates=40",
            "settings": settings,
            "evaluation": {"protocol": protocol, "samples": 5000},
            "teacher_digest": digest,
        },
        recipe_hash="0",
        sources=dict.fromkeys(settings, "given"),
        protocols={protocol: {"directions": {"fid": direction}}},
        images={"resolution": 8, "channels": 1},
        nfe=nfe[-1],
        cost={
            "images": last.images,
            "updates": last.updates,
            "flops": last.flops,
            "seconds": last.seconds,
        },
        evaluations=points,
        final={"fid": fid[-1]},
    )
    folder = RunFolder(results_folder() / record.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_record(record)
    return record


def teacher_run(fid: float = 1.5, nfe: int = 35, **more: object) -> Record:
    """The same of the teacher, which has a single point at no cost."""
    return run("teacher", fid=(fid,), nfe=(nfe,), updates=(0,), **more)


def drawn(records: list[Record], kind: str = "curves", axis: str = "images", width: str = "page"):
    """The drawing of the panels of FID: its figure, and its caption."""
    with paper_style():
        return draw(kind, comparisons(records, "fid"), axis, width)


def line(figure, label: str, axes: int = 0) -> Line2D:
    """The line with this label."""
    return next(found for found in figure.axes[axes].lines if found.get_label() == label)


def words(figure) -> list[str]:
    """Every text of the figure."""
    return [text.get_text() for text in figure.findobj(Text)]


def legend(figure) -> list[str]:
    """The texts of its legend, in their order."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def save_grid(record: Record, level: int = 0) -> Path:
    """A grid of 64 tiles whose grey says their number, and the last row the level."""
    images = (torch.arange(64) + level).reshape(64, 1, 1, 1).repeat(1, 1, 8, 8) / 127.5 - 1
    file = results_folder() / record.run_id / "samples" / f"{record.evaluations[-1].images:012d}.png"
    save_samples(images, file)
    return file


@pytest.mark.parametrize(("axis", "unit"), [("images", 100), ("flops", 10**9), ("seconds", 1)])
def test_a_curve_has_the_numbers_of_its_record_after_zero(axis, unit):
    found = line(drawn([run()], axis=axis).figure, "sid")
    assert found.get_xdata() == pytest.approx([10 * unit, 20 * unit, 40 * unit])
    assert found.get_ydata() == pytest.approx([8, 4, 2])
    assert (found.axes.get_xscale(), found.axes.get_yscale()) == ("log", "log")


def test_seeds_are_one_line_their_geometric_mean_and_a_band_from_the_smallest_to_the_largest():
    values = [(50.0, 8.0, 4.0, 2.0), (50.0, 6.0, 5.0, 2.5), (50.0, 9.0, 4.5, 1.0)]
    drawing = drawn([run(seed=s, fid=fid, speed=1 + s) for s, fid in enumerate(values)], axis="seconds")
    found = line(drawing.figure, "sid")
    each = list(zip(*values, strict=True))[1:]
    assert found.get_ydata() == pytest.approx([statistics.geometric_mean(v) for v in each])
    assert found.get_xdata() == pytest.approx([u * 6 ** (1 / 3) for u in (10, 20, 40)])
    band = drawing.figure.axes[0].collections[0].get_paths()[0].vertices
    for x, v in zip(found.get_xdata(), each, strict=True):
        edges = band[np.isclose(band[:, 0], x), 1]
        assert (edges.min(), edges.max()) == pytest.approx((min(v), max(v)))
    assert "range of 3 seeds" in legend(drawing.figure)
    assert "geometric mean of 3 training seeds" in drawing.caption


def test_what_may_be_below_zero_is_on_a_linear_axis_with_its_plain_mean():
    records = [run(seed=0, fid=(1.0, 0.5, 0.1, -0.2)), run(seed=1, fid=(1.0, 0.5, 0.2, 0.1))]
    drawing = drawn(records)
    assert drawing.figure.axes[0].get_yscale() == "linear"
    assert line(drawing.figure, "sid").get_ydata() == pytest.approx([0.5, 0.15, -0.05])
    assert "geometric" not in drawing.caption
    assert drawn([run(direction="higher", seed=9)]).figure.axes[0].get_yscale() == "linear"


def test_under_a_budget_of_seconds_seeds_are_matched_from_the_end():
    records = [
        run(updates=(0, 10, 20, 40)),
        run(seed=1, updates=(11, 22, 44), fid=(8.0, 4.0, 2.0), nfe=(1, 1, 1)),
    ]
    found = line(drawn(records).figure, "sid")
    assert found.get_ydata() == pytest.approx([8, 4, 2])
    assert found.get_xdata() == pytest.approx(
        [100 * math.sqrt(a * b) for a, b in ((10, 11), (20, 22), (40, 44))]
    )


def test_only_points_that_every_seed_has_are_on_the_line():
    records = [run(), run(seed=1, updates=(20, 40), fid=(4.0, 2.0), nfe=(1, 1))]
    assert line(drawn(records).figure, "sid").get_xdata() == pytest.approx([2000, 4000])


def test_the_teachers_line_is_its_own_number_and_says_its_nfe():
    drawing = drawn([run(), teacher_run(1.5), teacher_run(3.0, 11, steps=6)])
    found = line(drawing.figure, "teacher, NFE 35")
    assert list(found.get_ydata()) == [1.5, 1.5]
    assert "teacher, NFE 35" in words(drawing.figure)
    assert not any("NFE 11" in text for text in words(drawing.figure))
    other = drawn([run(), teacher_run(1.7, digest="other weights")])
    assert not any(text.startswith("teacher") for text in words(other.figure))


def test_a_method_on_its_way_to_fewer_steps_is_drawn_at_its_final_nfe_only():
    drawing = drawn([run("pd", nfe=(32, 32, 1, 1)), teacher_run()])
    assert line(drawing.figure, "pd").get_ydata() == pytest.approx([4, 2])
    assert (
        "pd is drawn at its final NFE 1 only; its evaluations at NFE 32 are left out." in drawing.caption
    )
    few = drawn([run("dmd2", nfe=(4, 4, 4, 4))])
    assert legend(few.figure) == ["dmd2, NFE 4"]


def test_a_single_point_of_several_seeds_has_a_bar():
    nfe = (4, 4, 4, 1)
    drawing = drawn([run("pd", nfe=nfe), run("pd", seed=1, fid=(50.0, 8.0, 4.0, 3.0), nfe=nfe)])
    assert any(list(found.get_ydata()) == [2, 3] for found in drawing.figure.axes[0].lines)


def test_teachers_and_protocols_have_panels_of_their_own():
    records = [
        run(),
        run(teacher="gmm"),
        run(protocol="digits-60", fid=(9.0, 9.0, 9.0, 9.0)),
        teacher_run(),
    ]
    figure = drawn(records).figure
    assert sorted((axes.get_title("left"), axes.get_ylabel()) for axes in figure.axes) == [
        ("edm-digits", "FID ↓ (digits-5k)"),
        ("edm-digits", "FID ↓ (digits-60)"),
        ("gmm", "FID ↓ (digits-5k)"),
    ]
    for axes in figure.axes:
        assert len([found for found in axes.lines if found.get_label() == "sid"]) == 1


def test_numbers_of_one_protocol_by_another_extractor_are_not_in_one_panel():
    other = run("dmd")
    other.recipe.evaluation.extractors = {"digits": "edited"}
    labels = [axes.get_ylabel() for axes in drawn([run(), other]).figure.axes]
    assert len(labels) == len(set(labels)) == 2


def test_settings_that_all_lines_share_are_said_once_and_those_that_differ_by_each():
    records = [
        run(batch=64, alpha=1.0),
        run(batch=64, alpha=1.2, resample=[5.0, 1.0]),
        run("dmd", batch=64),
    ]
    figure = drawn(records).figure
    assert figure.axes[0].get_title("left") == "edm-digits (batch=64)"
    told = [label.replace("\n", " ") for label in legend(figure)]
    assert told == ["dmd", "sid (alpha=1.0)", "sid (alpha=1.2, resample=[5.0, 1.0])"]


def test_runs_that_no_word_tells_apart_are_not_one_line():
    records = [run(), run("sid", fid=(9.0, 9.0, 9.0, 9.0))]
    records[1].recipe.teacher_code = "edited"
    assert len(set(legend(drawn(records).figure))) == 2


def test_the_final_numbers_stand_over_the_nfe_with_every_sampler_of_the_teacher():
    records = [run(), run(seed=1, fid=(50.0, 8.0, 4.0, 4.5)), run("dmd2", nfe=(4, 4, 4, 4))]
    records += [
        teacher_run(),
        teacher_run(30.0, 5, steps=3),
        teacher_run(9.0, 8, steps=8, solver="euler"),
    ]
    figure = drawn(records, "nfe").figure
    assert list(line(figure, "teacher").get_xdata()) == [5, 35]
    assert list(line(figure, "teacher").get_ydata()) == pytest.approx([30, 1.5])
    assert list(line(figure, "teacher, solver=euler").get_xdata()) == [8]
    assert (line(figure, "sid").get_xdata()[0], line(figure, "sid").get_ydata()[0]) == pytest.approx(
        (1, 3)
    )
    assert legend(figure) == [
        "dmd2, NFE 4",
        "sid",
        "teacher",
        "teacher, solver=euler",
        "range of 1 to 2 seeds",
    ]
    assert line(figure, "dmd2, NFE 4").get_xdata()[0] == 4


@pytest.mark.parametrize(("axis", "cost"), [("images", 4000), ("flops", 4e10), ("seconds", 40)])
def test_quality_stands_over_the_whole_cost(axis, cost):
    found = line(drawn([run()], "cost", axis).figure, "sid")
    assert (found.get_xdata()[0], found.get_ydata()[0]) == pytest.approx((cost, 2))


def test_those_of_one_nfe_stand_side_by_side_about_it():
    figure = drawn([run(method) for method in METHODS] + [run("few", nfe=(2, 2, 2, 2))], "nfe").figure
    places = [line(figure, method).get_xdata()[0] for method in METHODS]
    assert len(set(places)) == 13
    assert statistics.geometric_mean(places) == pytest.approx(1)
    assert 0.8 < min(places) < max(places) < 1.25
    assert line(figure, "few, NFE 2").get_xdata()[0] == 2


def test_no_two_lines_of_thirty_look_alike_even_in_grey():
    styles = [looks(i) for i in range(30)]
    assert len({str(style["linestyle"]) + style["marker"] for style in styles}) == 30
    lightness = [
        0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (to_rgb(style["color"]) for style in styles)
    ]
    assert max(lightness) < 0.72  # against white paper


@pytest.mark.parametrize("fid", [(1.5, 1.5), (2.2, 2.6), (1.0, 20.0), (0.01, 90.0), (1e-6, 1e6)])
def test_every_axis_has_ticks_with_different_labels(fid):
    figure = drawn([run(fid=fid, nfe=(1, 1), updates=(10, 11))]).figure
    with paper_style():
        figure.draw_without_rendering()
    for axis, limits in (
        (figure.axes[0].xaxis, figure.axes[0].get_xlim()),
        (figure.axes[0].yaxis, figure.axes[0].get_ylim()),
    ):
        ticks = [
            label.get_text()
            for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            if limits[0] <= place <= limits[1]
        ]
        assert 2 <= len(ticks) == len(set(ticks)) <= 12, ticks


@pytest.mark.parametrize("kind", ["curves", "nfe", "cost"])
@pytest.mark.parametrize("width", WIDTHS)
def test_thirteen_methods_fit_the_paper(kind, width):
    """Nothing is cut by an edge, the layout did not give up, and the axes keep their height."""
    records = [
        run(m, s, tuple(v * (1 + 0.1 * i + 0.2 * s) for v in (50.0, 8.0, 4.0, 2.0)))
        for i, m in enumerate(METHODS)
        for s in (0, 1)
    ]
    drawing = drawn([*records, teacher_run()], kind, "images", width)
    with paper_style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = np.asarray(Image.open(io.BytesIO(encoded(drawing.figure, "png", ""))).convert("L"))
    assert picture.shape[1] == round(WIDTHS[width] * 300)
    edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 255).all() for edge in edges)
    assert legend(drawing.figure) == [
        *METHODS,
        *(["teacher"] if kind == "nfe" else []),
        "range of 2 seeds",
    ]
    assert drawing.figure.axes[0].bbox.height / drawing.figure.dpi > 1.5


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["curves", "nfe", "cost", "samples"])
def test_awkward_names_break_no_figure_and_equal_records_make_equal_bytes(kind, form):
    records = [run(AWKWARD, teacher="t_$1$", **{"a_$b": AWKWARD[:20]}), run("$", teacher="t_$1$")]
    for record in records:
        save_grid(record)
    made_panels = comparisons([*records, teacher_run(teacher="t_$1$")], "fid")
    contents = []
    for _ in range(2):
        with paper_style():
            samples = kind == "samples"
            drawing = (
                side_by_side(made_panels, results_folder(), "page", 4)
                if samples
                else draw(kind, made_panels, "images", "page")
            )
            contents.append(encoded(drawing.figure, form, drawing.caption))
    assert contents[0] == contents[1]
    assert contents[0].startswith({"pdf": b"%PDF", "png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml"}[form])
    if form == "svg":
        root = ElementTree.fromstring(contents[0])
        assert root.tag.endswith("svg")
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        text = " ".join("".join(e.itertext()) for e in root.iter() if e.tag.endswith("text"))
        assert "50% <script>" in " ".join(text.split())
        assert "距離" in text
    if form == "pdf":
        assert b"/Type3" not in contents[0]
        assert b"/FontFile2" in contents[0]
        assert b"CreationDate" not in contents[0]


def test_what_cannot_be_printed_becomes_a_sign():
    assert printable("a\x00b\ud800\n") == "a\ufffdb\ufffd\ufffd"


@pytest.mark.parametrize("across", [1, 4, 8])
def test_samples_are_the_first_images_of_the_last_grid_beside_the_teachers(across):
    records = [run(), run("dmd", nfe=(2, 2, 2, 2)), teacher_run()]
    for i, record in enumerate(records):
        save_grid(record, level=100 * (i == 2))
    with paper_style():
        drawing = side_by_side(comparisons(records, "fid"), results_folder(), "page", across)
    titles = [text.get_text() for text in drawing.figure.texts]
    assert titles[0] == "edm-digits, FID ↓ (digits-5k)"
    shown = dict(
        zip(titles[1:], (axes.images[0].get_array() for axes in drawing.figure.axes), strict=True)
    )
    assert list(shown) == ["teacher\nNFE 35, FID 1.50", "dmd\nNFE 2, FID 2.00", "sid\nNFE 1, FID 2.00"]
    for title, picture in shown.items():
        tile = 64 + 6
        levels = {
            round(float(picture[6 + tile * r + 32, 6 + tile * c + 32, 0]) * 255)
            for r in range(across)
            for c in range(across)
        }
        first = 100 * title.startswith("teacher")
        assert levels == {first + 8 * r + c for r in range(across) for c in range(across)}


def test_a_run_without_samples_is_named(bench):
    save_grid(run())
    lost = run("dmd")
    err = bench.ok("plot", "samples", "-o", str(results_folder() / "s.png")).err
    assert f"{lost.run_id} has no picture of its samples and is left out." in err


def test_the_command_writes_every_file_it_is_asked_for_and_prints_the_caption(bench, tmp_path):
    run()
    run(seed=1, status="failed")
    files = [tmp_path / "figures" / f"f.{form}" for form in FORMATS]
    out, err = bench.ok("plot", *(x for file in files for x in ("-o", str(file))), "--width", "column")
    assert out.startswith("FID ↓ (digits-5k) against images generated")
    assert "not finished" in err
    assert all(file.stat().st_size > 1000 for file in files)
    assert sorted(p.name for p in files[0].parent.iterdir()) == ["f.pdf", "f.png", "f.svg"]


def test_letters_that_the_font_lacks_are_said(bench, tmp_path):
    run("距離")
    err = bench.ok("plot", "-o", str(tmp_path / "f.svg")).err
    assert "the font of the figures lacks '距離'" in err
    assert "Glyph" not in err


def test_methods_teachers_and_protocols_can_be_chosen():
    records = [run(), run("dmd"), run("dmd", teacher="gmm"), run(protocol="digits-60")]
    chosen = Selection(methods=["dmd"], teachers=["gmm"]).take(records)

    def names(found: list[Comparison]) -> list[tuple[str, str, list[str]]]:
        return [(p.teacher, p.column.label, [own.method for own in p.lines]) for p in found]

    assert names(comparisons(chosen, "fid")) == [("gmm", "digits-5k", ["dmd"])]
    assert names(comparisons(records, "fid", protocol="digits-60")) == [
        ("edm-digits", "digits-60", ["sid"])
    ]
    assert comparisons(records, "recall") == []


BAD = [
    (["curve"], "unknown kind of figure 'curve'; did you mean 'curves'?", 2),
    (["--x", "flop"], "unknown axis 'flop'; did you mean 'flops'?", 2),
    (["nfe", "--x", "flops"], "--x flops is for curves and cost", 2),
    (["--width", "wide"], "unknown width 'wide'", 2),
    (["samples", "-n", "10"], "-n 10 images make no square; expected 1, 4, 9, 16, 25, 36, 49 or 64.", 2),
    (["samples", "-n", "81"], "-n 81 images", 2),
    (["-o", "f.eps"], "unknown format of a figure 'eps'", 2),
    (["-o", "figure"], "'figure' has no ending that says its format; expected .pdf, .svg, .png.", 2),
    (["--metric", "fidd"], "unknown metric 'fidd'; did you mean 'fid'?", 2),
    (["--teacher", "edm-digit"], "unknown teacher 'edm-digit'; did you mean 'edm-digits'?", 2),
    (["--methods", "sid,dmdd"], "unknown method 'dmdd'; did you mean 'dmd", 2),
    (["--methods", ","], "the list of methods is empty; give some, such as sid,dmd.", 2),
    (["--methods", "kd"], "makes a figure of curves with metric 'fid', method 'kd'", 1),
    (["--metric", "recall"], "makes a figure of curves with metric 'recall'", 1),
    (["--results", "nowhere"], "nothing in 'nowhere' makes a figure of curves", 1),
]


@pytest.mark.parametrize(("arguments", "sentence", "status"), BAD, ids=[" ".join(a) for a, *_ in BAD])
def test_what_cannot_be_drawn_is_one_sentence_and_no_file(
    bench, tmp_path, monkeypatch, arguments, sentence, status
):
    run()
    monkeypatch.chdir(tmp_path)
    code, out, err = bench("plot", *arguments)
    assert code == status
    assert sentence in err
    assert [row for row in err.strip().splitlines() if not row.startswith("note:")] == [
        err.strip().splitlines()[-1]
    ]
    assert out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_a_method_without_a_point_that_its_seeds_share_leaves_the_others():
    apart = [
        run("dmd", updates=(0, 10), fid=(50.0, 8.0), nfe=(4, 1)),
        run("dmd", seed=1, updates=(0,), fid=(50.0,), nfe=(1,)),
    ]
    assert line(drawn([*apart, run()]).figure, "sid").get_ydata() == pytest.approx([8, 4, 2])
