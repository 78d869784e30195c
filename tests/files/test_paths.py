"""Paths that no file can have are refused in a sentence, wherever one is asked for."""

from __future__ import annotations

import pytest

from bench.errors import UsageError
from bench.files.atomic import write_atomic
from bench.files.paths import written_path
from bench.runs.recipe import make_request
from tests.helpers.records import record, write

NO_PATH = {
    "a long name": "n" * 300,
    "a long path": "folder/" * 700 + "x",
    "blank": "   ",
    "empty": "",
    "nobody's home": "~nobody-here/x",
}
TEACHER = "teacher:edm-digits"
RUN = ("run", "--method", "sid", "--teacher", "edm-digits", "--dry-run")
MEASURE = ("eval", TEACHER, "--eval-samples", "60")
COMMANDS = [
    ("eval", "{}"),
    ("sample", "{}"),
    ("stats", "{}"),
    ("merge", "{}"),
    ("compare", "{}", "--dry-run"),
    ("run", "--recipe", "{}", "--dry-run"),
    ("table", "--results", "{}"),
    ("list", "runs", "--results", "{}"),
    ("plot", "--results", "{}"),
    ("table", "-o", "{}"),
    ("table", "--bib", "{}"),
    ("plot", "-o", "{}"),
    ("report", "-o", "{}"),
    ("sample", TEACHER, "-o", "{}"),
    ("stats", "digits", "-o", "{}"),
    ("stats", "digits", "--path", "{}"),
    ("sample", TEACHER, "--teacher-path", "{}"),
    ("list", "methods", "--plugin", "{}"),
    (*MEASURE, "--results", "{}"),
    (*MEASURE, "--reference", "{}"),
    (*MEASURE, "--extractor-path", "{}"),
    (*RUN, "--data", "{}"),
    (*RUN, "--teacher-path", "{}"),
    (*RUN, "--plugin", "{}"),
]


@pytest.mark.parametrize("kind", NO_PATH)
def test_every_option_that_takes_a_path_refuses_what_is_none(bench, tmp_path, monkeypatch, kind):
    write([record()], tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for command in COMMANDS:
        code, out, err = bench(*(word.format(NO_PATH[kind]) for word in command))
        assert code == 2, (command, err)
        assert err.startswith("error: ") and err.count("\n") == 1 and len(err) < 500, (command, err)
        assert "is longer than any" in err or "is blank" in err or "who is not there" in err, (
            command,
            err,
        )
        assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", [*NO_PATH.values(), "a\0b", "\ud800"])
def test_a_text_that_names_no_file_is_no_path_from_python_either(text):
    with pytest.raises(UsageError, match="name a file or folder"):
        written_path(text)
    for field in ("teacher_path", "extractor_path", "data", "reference"):
        with pytest.raises(UsageError, match=rf"{field}: the path (is|has|begins)"):
            make_request(method="sid", teacher="edm-digits", **{field: text})
    with pytest.raises(UsageError, match=r"plugins: the path (is|has|begins)"):
        make_request(method="sid", teacher="edm-digits", plugins=[text])


def test_the_longest_name_that_a_file_can_have_is_written(tmp_path):
    write_atomic(written_path(tmp_path / ("ü" * 127)), "here")
    assert (tmp_path / ("ü" * 127)).read_text() == "here"
