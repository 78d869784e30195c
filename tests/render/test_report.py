"""``bench report`` in a real browser: what it shows, how it is used, and that nothing in a record
can harm it.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from bench.ranking.leaderboard import leaderboard
from bench.render.report.content import content
from bench.render.report.grids import LEFT_OUT, Grids, spread
from bench.render.report.page import as_json, page
from bench.render.tables.table import render
from bench.runs.record import Record
from bench.runs.store import read_runs
from tests.helpers.browser import Browser, chromium
from tests.helpers.report_runs import (
    CHECKPOINTS,
    HOSTILE,
    evaluated_run,
    whole_page,
    write_many_runs,
    write_run,
    write_study,
)

needs_browser = pytest.mark.skipif(
    chromium() is None and not os.environ.get("CI"), reason="needs chromium, which .ci/run installs"
)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """The study's folder and the page made of it."""
    results = tmp_path_factory.mktemp("study")
    write_study(results)
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(whole_page(results), encoding="utf-8")
    return results, file


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chrome"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chrome, studied):
    """The study's page, freshly opened on a desk; nothing may have gone wrong in it by the end of
    the test.
    """
    chrome.size(1280, 900)
    chrome.colours("light")
    chrome.open(studied[1])
    yield chrome
    assert chrome.errors == []
    assert chrome.requests == []
    assert chrome.js("window.ran") is None


def methods(browser) -> list[str]:
    """The names in the rows of the table, from top to bottom."""
    return browser.texts("#table tr.row th bdi:first-child")


def header(browser, title: str) -> str:
    """A selector of the header of a column."""
    titles = [text.split("\n")[0].strip() for text in browser.texts("#table thead th")]
    return f"#table thead th:nth-child({1 + titles.index(title)})"


def sort_by(browser, title: str) -> str | None:
    """Click on the header of a column; the order that it then says it has."""
    browser.click(f"{header(browser, title)} button")
    return browser.js(f"document.querySelector({json.dumps(header(browser, title))}).ariaSort")


def row(browser, method: str) -> str:
    """A selector of the row of a method."""
    return f"#table tr.row:nth-child({1 + 2 * methods(browser).index(method)})"


@needs_browser
def test_a_click_on_a_header_sorts_and_another_reverses(browser):
    assert methods(browser)[:3] == ["teacher", "sid", "dmd"]
    assert sort_by(browser, "FID ↓") == "ascending"
    assert methods(browser) == ["teacher", "sid", "dmd", HOSTILE, "damaged-grid", "diff-instruct"]
    assert sort_by(browser, "FID ↓") == "descending"
    assert methods(browser) == ["diff-instruct", "damaged-grid", HOSTILE, "dmd", "sid", "teacher"]
    sort_by(browser, "images")
    assert methods(browser)[-1] == "teacher"  # what trains nothing has no cost, and comes last
    assert browser.count("#table th[aria-sort]") == 1
    sort_by(browser, "IS ↑")
    assert methods(browser)[0] == "teacher"  # higher is better, so that the best comes first here too


@needs_browser
def test_the_table_says_what_bench_table_says(browser, studied):
    records = {record.run_id: record for _, record in reversed(read_runs(studied[0])[0])}
    board = leaderboard([r for r in records.values() if r.seed < 10])
    marks = re.compile(r"\*\*|</?u>|<sup>†</sup>")  # which the page does not have
    for line in [
        html.unescape(marks.sub("", line))
        for line in render(board, "md").splitlines()[2:]
        if line.startswith("|")
    ]:
        _, method, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        shown = browser.texts(f"{row(browser, method.removesuffix(' (images=16000)'))} td")
        assert shown == [cell.removesuffix(" runs") for cell in cells]


@needs_browser
def test_words_and_needs_narrow_the_table(browser):
    browser.click("#filter")
    browser.type("INS diff")
    assert methods(browser) == ["diff-instruct"]
    assert browser.text("#count") == "1 of 6 rows"
    browser.js("document.querySelector('#filter').value = ''")
    browser.type("nothing like it")
    assert methods(browser) == []
    browser.js("document.querySelector('#filter').select()")
    browser.type(" ")
    browser.click("#data-free")
    assert "dmd" not in methods(browser)
    assert len(methods(browser)) == 5


@needs_browser
def test_a_row_opens_its_runs_with_all_that_their_records_say(browser):
    browser.click(f"{row(browser, 'sid')} td")
    assert (
        browser.js(f"document.querySelector({json.dumps(row(browser, 'sid') + ' button')}).ariaExpanded")
        == "true"
    )
    assert len(browser.texts("#table details.run")) == 3
    assert "FID 2.10 (digits-5k)" in browser.texts("#table details.run summary")[1]
    browser.click("#table details.run:nth-child(2) summary")
    told = " ".join(browser.text("#table details.run:nth-child(2)").split())
    for part in (
        "alpha 1.2 paper, table 3",
        "lr 0.001 tuned here",
        "flops 16G (16,000,000,000)",
        "evaluations.fake.forward 32k (32,000)",
        "digits-5k.samples 5000",
        "device cpu (AMD EPYC)",
        "tuning.note by final FID",
        "sid.py 53569cd1",
        "4k 40 4G 40 s 1 5000 27.30 ± 0.05 4.79",
        "budget: images=16000",
    ):
        assert part in told
    assert "private" not in browser.js(
        "document.documentElement.outerHTML"
    )  # the place of a file is nobody's business
    sort_by(browser, "FID ↓")
    assert (
        browser.text("#table tr:has(+ tr details[open]) bdi") == "sid"
    )  # sorting keeps what is open, where it belongs
    browser.click(f"{row(browser, 'sid')} button")
    assert browser.js("document.querySelector('#table details').checkVisibility()") is False


@needs_browser
def test_the_keyboard_alone_sorts_opens_and_reads(browser):
    browser.js("document.querySelector('#data-free').focus()")
    browser.press("Tab")
    browser.press("Tab")  # past the box in which the table scrolls
    assert browser.js("document.activeElement.innerText") == "method"
    browser.press("Enter")
    assert methods(browser) == sorted(methods(browser), key=str.lower)
    browser.press(" ")
    assert methods(browser) == sorted(methods(browser), key=str.lower, reverse=True)
    first = "#table tr.row th button"
    while browser.js(f"document.activeElement !== document.querySelector('{first}')"):
        browser.press("Tab")
    browser.press("Enter")
    assert browser.js("document.activeElement.ariaExpanded") == "true"
    assert browser.count("#table details.run") == 1
    browser.press("Tab")
    assert browser.js("document.activeElement.tagName") == "SUMMARY"
    browser.press("Enter")
    assert (
        browser.js("document.querySelector('#table details.run').open") is False
    )  # one run alone is open at first


@needs_browser
def test_the_axes_of_the_curves_can_be_chosen(browser):
    assert browser.texts(".y-title") == ["FID ↓ (digits-5k)"]
    assert browser.texts(".x-title") == ["images generated for the generator's updates"]
    ticks = browser.texts(".x-tick")
    assert {"1k", "2k", "10k"} <= set(ticks)
    browser.choose("#axis", "flops")
    assert {"1G", "2G", "10G"} <= set(browser.texts(".x-tick"))
    browser.choose("#axis", "seconds")
    assert browser.texts(".x-tick")[0] == "10 s"
    assert browser.texts(".x-title") == ["seconds of training"]
    browser.choose("#axis", "updates")
    browser.choose("#scale", "linear")
    assert browser.texts(".x-tick")[0] == "0"
    browser.choose("#axis", "nfe")
    assert browser.count(".mark") == 6  # one for each method at its NFE
    browser.choose("#metric", "1")
    assert browser.texts(".y-title") == ["IS ↑ (digits-5k)"]
    browser.choose("#axis", "images")
    browser.choose("#scale", "log")
    assert browser.count("path.curve") == 5
    assert browser.count("path.seed") == 9  # three methods of three seeds, thin below their means
    assert browser.count("line.level") == 1  # the teacher


@needs_browser
def test_curves_are_switched_off_and_on(browser):
    browser.click("#legend label:nth-child(2) input")
    assert browser.count("path.curve") == 4
    browser.click("#none")
    assert browser.js("document.querySelector('#plot').textContent") == "choose a method below"
    browser.click("#all")
    assert browser.count("path.curve") == 5


@needs_browser
def test_a_point_is_read_by_arrow_keys_and_by_pointing(browser):
    browser.js("document.querySelector('#plot').focus()")
    browser.press("ArrowRight")
    assert browser.text("#readout") == "teacher: FID 1.50 ± 0.05 (digits-5k) at NFE 35"
    browser.press("ArrowDown")
    end = "FID 2.10 ± 0.10 (digits-5k) at 16k images, 16G FLOPs, 3 min, NFE 1"
    assert browser.text("#readout") == f"sid, mean of 3 seeds: {end}"
    browser.press("ArrowLeft")
    assert "at 4k images, 4G FLOPs, 40 s, NFE 1" in browser.text("#readout")
    spot = "[...document.querySelectorAll('.mark')].at(-1)"
    browser.js("document.querySelector('#plot').scrollIntoView({block: 'center'})")
    x, y = browser.js(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({spot}.getBoundingClientRect())")
    browser.point(x, y)
    assert browser.text("#readout").startswith("diff-instruct, mean of 3 seeds: FID 10.10")


def pictures(browser) -> list[str]:
    return browser.js("[...document.querySelectorAll('.panel img')].map(i => i.src)")


@needs_browser
def test_samples_are_compared_at_each_checkpoint(browser, studied):
    captions = browser.texts(".panel figcaption span")
    assert captions[0].startswith("no training, NFE 35 · FID 1.50")
    assert captions[1].startswith("16k images, 3 min, NFE 1 · FID 2.00")
    assert browser.texts(".panel figcaption bdi") == ["teacher", "sid, seed 0", "dmd, seed 0"]
    at_end = pictures(browser)
    assert len(set(at_end)) == 3
    browser.js("document.querySelector('#checkpoint').focus()")
    browser.press("ArrowLeft")
    assert browser.text("#checkpoint-at") == "4k images"
    assert "FID 26.00" in browser.texts(".panel figcaption span")[1]
    earlier = pictures(browser)
    assert earlier[0] == at_end[0]  # the teacher has one
    assert earlier[1] != at_end[1]
    assert earlier[2] != at_end[2]
    browser.press("Home")
    assert browser.texts(".panel figcaption span")[1].startswith("before training")
    browser.press("End")
    assert pictures(browser) == at_end
    browser.click("#add")
    assert browser.count(".panel") == 4
    chosen = browser.js(
        "[...document.querySelectorAll('.panel:nth-child(4) option')].find(o => "
        "o.text.endsWith('seed 2')).value"
    )
    browser.choose(".panel:nth-child(4) select", chosen)
    assert pictures(browser)[:3] == at_end
    assert "FID 2.20" in browser.texts(".panel figcaption span")[3]
    browser.click(".panel:nth-child(1) button")
    assert pictures(browser)[:2] == at_end[1:]
    assert browser.js(
        "[...document.querySelectorAll('.panel img')].every(i => i.complete && i.naturalWidth === 24)"
    )


@needs_browser
def test_what_a_record_says_is_text_and_nothing_else(browser):
    line = row(browser, HOSTILE)
    browser.click(f"{line} button")
    told = browser.text(f"{line} + tr")
    assert told.count(HOSTILE) >= 3  # as a source, in the environment, and in the recipe
    assert browser.js(
        "[...document.querySelectorAll('#legend label')].some(l => l.textContent.includes('<script>'))"
    )
    assert browser.count("script") == 2
    assert browser.count("img[src=x]") == 0
    browser.choose("#axis", "flops")
    browser.js("document.querySelector('#plot').focus()")
    for _ in range(4):
        browser.press("ArrowDown")
    assert HOSTILE in browser.text("#readout")


@needs_browser
def test_the_policy_stops_a_script_that_gets_in_all_the_same(chrome, studied):
    chrome.open(studied[1])
    chrome.js(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.ran = 1\">')"
    )
    chrome.frame()
    assert chrome.js("window.ran") is None
    assert any("Content Security Policy" in error for error in chrome.errors)


@needs_browser
def test_everything_skipped_is_named_and_everything_open_is_listed(browser):
    skipped = browser.text("#skipped")
    reasons = {
        20: "damaged",
        21: "damaged",
        22: "no record.json",
        23: "schema 99",
        24: "KeyError|cost",
        25: "1e999",
    }
    for seed, why in reasons.items():
        assert re.search(f"sid-edm-digits-s{seed}-[^\n]*({why})", skipped), why
    assert re.search("copy has the same id as [^\n]*sid-edm-digits-s0-", skipped)
    assert re.search("damaged-grid[^\n]*000000016000.png is damaged", skipped)
    assert browser.count("#skipped li") == 8
    unfinished = browser.texts("#unfinished summary")
    assert unfinished[0].startswith("sid, seed 7: failed")
    assert unfinished[1].startswith("unmeasured, seed 0: done, and measured nothing")
    browser.click("#unfinished summary")
    assert f"the loss is not finite {HOSTILE}" in browser.text("#unfinished details")


@needs_browser
def test_a_phone_never_scrolls_sideways(browser):
    browser.size(375, 700, phone=True)
    everything = "document.querySelectorAll('#table th[scope=row] button').forEach(b => b.click()); "
    everything += "document.querySelectorAll('details').forEach(d => d.open = true)"
    for _ in range(2):
        assert browser.js("document.documentElement.scrollWidth") == 375
        wide = "[...document.querySelectorAll('section, .inside, .panel, #plot, #legend label, fieldset, header *')]"
        wide += ".filter(e => e.getBoundingClientRect().width > 375).map(e => e.outerHTML.slice(0, 80))"
        assert browser.js(wide) == []
        browser.js(everything)
        browser.frame()
    assert browser.count("#table .inside") == 6


@needs_browser
def test_light_and_dark_follow_the_system_and_the_button(browser):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = browser.js(colour)
    assert browser.text("#theme") == "dark colours"
    browser.colours("dark")
    dark = browser.js(colour)
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(18, 22, 29)"
    assert browser.text("#theme") == "light colours"
    browser.click("#theme")
    assert browser.js(colour) == light
    browser.colours("light")
    browser.click("#theme")
    assert browser.js(colour) == dark


@needs_browser
def test_teachers_are_kept_apart_on_request(chrome, tmp_path):
    for teacher in ("edm-digits", "edm-<b>cifar"):
        for method in ("sid", "teacher"):
            made = evaluated_run(
                method,
                0,
                2.0,
                teacher=teacher,
                run_id=f"{method}-{len(teacher)}",
                recipe={"teacher": teacher, "budget": "flops=2T"},
            )
            write_run(tmp_path / "runs", made)
    (tmp_path / "report.html").write_text(whole_page(tmp_path / "runs"))
    chrome.size(1280, 900)
    chrome.open(tmp_path / "report.html")
    assert chrome.text("#count") == "4 of 4 rows"
    assert chrome.texts(".x-title") == ["floating-point operations of training"]  # what was matched
    chrome.choose("#teacher", "edm-<b>cifar")
    assert chrome.text("#count") == "2 of 4 rows"
    assert sorted(chrome.texts("#legend label")) == ["sid, edm-<b>cifar", "teacher, edm-<b>cifar"]
    assert {"edm-<b>cifar" in text for text in chrome.texts(".panel option")} == {True}
    assert chrome.errors == []


def spoilt(made: Record) -> Iterator[str]:
    """A record with something else in the place of each of its fields, one at a time."""

    def places(value, path=()):
        yield path
        for key in (
            value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        ):
            yield from places(value[key], (*path, key))

    whole = made.model_dump(mode="json")
    whole["evaluations"] = whole["evaluations"][-2:]
    for path in places(whole):
        for other in (None, "x", -1, 1e308, True, [], {}, [{"a": [None]}], {"a": {"b": HOSTILE}}):
            spoiled = json.loads(json.dumps(whole))
            inner = spoiled
            for key in path[:-1]:
                inner = inner[key]
            if path:
                inner[path[-1]] = other
            yield json.dumps(spoiled if path else other)


@pytest.mark.slow
@needs_browser
def test_whatever_stands_in_a_record_it_is_shown_or_named(chrome, tmp_path):
    everything = list(spoilt(evaluated_run("sid", 0, 2.0)))
    for i, text in enumerate(everything):
        folder = tmp_path / "runs" / f"run-{i:04d}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text.replace("sid-edm-digits-s0-0123456789", folder.name))
    made = content(*read_runs(tmp_path / "runs"))
    named = {found for sentence in made["skipped"] for found in re.findall(r"runs/(run-\d+)", sentence)}
    assert len({run["id"] for run in made["runs"]}) == len(made["runs"]) > 100
    assert len(made["runs"]) + len(made["skipped"]) == len(everything)
    assert len(named) > 100
    (tmp_path / "report.html").write_text(page(made))
    chrome.size(1280, 900)
    chrome.open(tmp_path / "report.html")
    chrome.js("document.querySelectorAll('#table th[scope=row] button').forEach(b => b.click())")
    chrome.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    for axis in ("flops", "seconds", "updates", "nfe", "images"):
        for scale in ("linear", "log"):
            chrome.choose("#scale", scale)
            chrome.choose("#axis", axis)
            assert chrome.count("#plot svg") == 1
            assert "NaN" not in chrome.js("document.querySelector('#plot').innerHTML")
    assert chrome.errors == []


@pytest.mark.slow
@needs_browser
def test_the_page_of_two_hundred_runs_stays_small_and_works(chrome, tmp_path):
    results = tmp_path / "runs"
    write_many_runs(results, 200)
    text = whole_page(results)
    assert 18e6 < len(text) < 20e6
    (tmp_path / "report.html").write_text(text)
    chrome.size(1280, 900)
    chrome.open(tmp_path / "report.html")
    assert chrome.text("#count") == "50 of 50 rows"
    assert "were left out to keep this page under 20 MB" in chrome.text("#samples-note")
    assert chrome.texts(".panel figcaption span")[2].startswith("16k images")
    assert chrome.count(".panel img") == 3  # of every method the end of one seed comes first
    for _ in range(4):
        chrome.js("document.querySelector('#checkpoint').focus()")
        chrome.press("ArrowLeft")
    assert chrome.errors == []


def test_the_data_can_end_no_element(studied):
    text = studied[1].read_text(encoding="utf-8")
    assert text.count("</script") == 2
    assert text.count("<!--") == 0
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<>&") & set(data)
    assert data.isascii()
    assert HOSTILE in [r["method"] for r in json.loads(data)["rows"]]


def test_grids_that_fit_are_of_every_method_before_a_second_seed(tmp_path):
    for method in ("a", "b", "c"):
        for seed in range(2):
            write_run(tmp_path, evaluated_run(method, seed, 2.0))
    full = content(*read_runs(tmp_path))
    assert len(full["pictures"]) == 3 * 2 * len(CHECKPOINTS)
    assert full["leftOut"] == 0
    limit = len(as_json(full | {"pictures": []})) + 7 * max(map(len, full["pictures"]))
    shown = content(*read_runs(tmp_path), limit=limit)
    assert len(as_json(shown)) < limit + 100
    first = [[p["grid"] for p in run["points"]] for run in shown["runs"] if run["seed"] == 0]
    second = [[p["grid"] for p in run["points"]] for run in shown["runs"] if run["seed"] == 1]
    assert all(grids[-1] != LEFT_OUT and grids[1] != LEFT_OUT for grids in first)
    assert {grid for grids in second for grid in grids} == {LEFT_OUT}
    assert shown["leftOut"] == 3 * 2 * len(CHECKPOINTS) - len(shown["pictures"])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 13])
def test_any_beginning_of_a_spread_covers_the_whole(count):
    order = list(spread(count))
    assert sorted(order) == list(range(count))
    assert order[:1] == [count - 1][:count]
    for taken in range(2, count):
        marks = sorted([-1, *order[:taken]])
        assert max(b - a for a, b in pairwise(marks)) <= 2 * count / taken


def test_small_grids_are_kept_exactly_and_photographs_nearly(tmp_path):
    random = np.random.default_rng(0)
    digits = np.kron(random.integers(0, 17, (32, 32)), np.ones((16, 16))).astype(np.uint8) * 15
    Image.fromarray(digits).convert("RGB").save(tmp_path / "digits.png")
    x, y = np.mgrid[:512, :512] / 512
    photo = np.stack([x, y, x * y], -1) * 200 + random.normal(0, 12, (512, 512, 3))
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    grids = Grids(10_000_000)
    for name, error in (("digits", 0), ("photo", 14)):
        place = grids.add(tmp_path / f"{name}.png")
        picture = list(grids.places)[place]
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))).astype(
            float
        )
        original = np.asarray(Image.open(tmp_path / f"{name}.png")).astype(float)
        assert np.abs(decoded - original).mean() <= error
        assert len(picture) < 1.4 * (tmp_path / f"{name}.png").stat().st_size
    assert grids.add(tmp_path / "digits.png") == 0
    assert len(grids.places) == 2


def test_the_command_names_what_it_skips(bench, tmp_path):
    write_study(tmp_path / "runs")
    code, out, err = bench(
        "report", "--results", str(tmp_path / "runs"), "-o", str(tmp_path / "pages" / "r.html")
    )
    assert (code, out) == (0, "")
    assert "6 rows of 14 runs, " in err
    assert err.count("note: ") == 8
    text = (tmp_path / "pages" / "r.html").read_text()
    assert str(tmp_path) not in text  # the sentences name the runs, not the machine's folders
    assert [f.name for f in (tmp_path / "pages").iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["-o", "r.html"], 1, "no finished run in"),
        (["-o", "."], 2, "is a folder; name a file in it"),
        (["-o", "r.html", "--teacher", "edm-digit"], 2, "did you mean 'edm-digits'?"),
    ],
)
def test_the_command_refuses_in_one_sentence(bench, tmp_path, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    found, out, err = bench("report", "--results", str(tmp_path / "none"), *arguments)
    assert (found, out) == (code, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r.html").exists()
