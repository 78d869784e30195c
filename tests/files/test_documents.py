"""Documents that people bring: a text means what it looks like, and nothing hangs or fills the memory."""

import math
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.files.documents import LARGEST, dump_yaml, parse_json, parse_yaml, read_regular, read_yaml

MEANINGS = {
    "064": 64,
    "-007": -7,
    "+3": 3,
    "0o17": 15,
    "0x1F": 31,
    "1e2": 100.0,
    "1E-5": 1e-5,
    "1.0e+2": 100.0,
    ".5": 0.5,
    "-5.": -5.0,
    "-.inf": -math.inf,
    "true": True,
    "FALSE": False,
    "": None,
    "~": None,
    "null": None,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "OFF": "OFF",
    "y": "y",
    "1:04": "1:04",
    "12:30:45": "12:30:45",
    "1_000": "1_000",
    "0b11": "0b11",
    "2026-01-01": "2026-01-01",
    "2026-01-01 10:00:00": "2026-01-01 10:00:00",
    "=": "=",
    "'064'": "064",
    '"yes"': "yes",
    "1.2.3": "1.2.3",
    "e5": "e5",
    "1e": "1e",
    "tRUE": "tRUE",
}


@pytest.mark.parametrize("text", MEANINGS)
def test_a_value_is_what_it_looks_like(text):
    found = parse_yaml(text)
    assert (type(found), found) == (type(MEANINGS[text]), MEANINGS[text])
    assert parse_yaml(f"[{text}]" if text else "[~]") == [MEANINGS[text]]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]))
    | st.sampled_from([*MEANINGS]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz01-."), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_written_is_read_back(content):
    def named(part):
        """Fields' names are texts, which are quoted as values are."""
        if isinstance(part, dict):
            return {f"k{name}": named(value) for name, value in part.items()}
        return [named(value) for value in part] if isinstance(part, list) else part

    content = named(content)
    assert parse_yaml(dump_yaml(content)) == content


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{a: 1, b: 2, a: 3}", r"the field 'a' is given twice \(line 1, column 14\)"),
        (
            "methods: [sid]\nseeds: [0]\nmethods: [dmd]\n",
            r"'methods' is given twice \(line 3, column 1\)",
        ),
        ("a: {x: 1, x: 2}", "the field 'x' is given twice"),
        ("{[1]: 2}", "a field's name is not a text"),
        ("a: &x [1]\nb: *x", r"\*x repeats another part; write that part out \(line 2"),
        ("&a [*a]", "repeats another part"),
        ("9" * 1_000_000, "of 1,000,000 digits, expected at most"),
        ("a: " + "9" * 400, "the number 9+... of 400 digits, expected at most 1.8e\\+308"),
        ("a: -1e999", r"the number -1e999, expected at most 1.8e\+308 \(line 1, column 4\)"),
        ('a: "\\ud800"', r"a text has half a character, which no file can hold \(line 1, column 4\)"),
        ("[" * 20_000, "nested too deeply"),
        ("{a: " * 20_000, "nested too deeply"),
        ("- " * 20_000, "nested too deeply"),
        ("a: b: c", r"mapping values are not allowed here \(line 1, column 5\)"),
        ("!!bool maybe", "'maybe' is no bool"),
        ('!!float ""', "'' is no float"),
        ("!!float 1:30", "'1:30' is no float"),
        ("!!int abc", "'abc' is no int"),
        ("!!int [1]", "is no int"),
        ("!!null x", "'x' is no null"),
        ("!!binary aGk=", "constructor for the tag"),
        ("!!timestamp 2026-01-01", "constructor for the tag"),
        ("!!set {a, b}", "constructor for the tag"),
        ("!!python/object/apply:os.system [ls]", "constructor for the tag"),
        ("\x00", "special characters are not allowed"),
        ("a: [", "expected the node content"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_not_plain_data_is_refused_in_one_line(text, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        parse_yaml(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_number_is_infinite_where_its_text_says_so():
    assert parse_yaml("[.inf, -.INF, 1e308, -.5e3]") == [math.inf, -math.inf, 1e308, -500.0]
    assert math.isnan(parse_yaml(".nan"))


def test_aliases_that_multiply_are_refused_at_the_first():
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(ValueError, match=r"\*a repeats another part"):
        parse_yaml("\n".join(lines))


def test_a_merge_key_is_a_field_like_any_other():
    assert parse_yaml("<<: {a: 1}") == {"<<": {"a": 1}}


def test_a_large_file_is_refused_unread(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("a: [" + "1, " * 10_000_000 + "1]")
    with pytest.raises(ValueError, match=f"it has 30,000,006 bytes, expected at most {LARGEST:,}"):
        read_yaml(file)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_nested_too_deeply_is_refused_as_json_that_is_none(text):
    for bad in (text, "{", "", "nul"):
        with pytest.raises(ValueError, match=r"nested too deeply|line 1 column"):
            parse_json(bad)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to a device"])
def test_what_is_no_file_is_refused_at_once(kind, tmp_path):
    path: Path = tmp_path / "given"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    refusals = []

    def read():
        try:
            read_regular(path, 100)
        except (ValueError, OSError) as error:
            refusals.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(120)  # seconds; against a hang
    assert len(refusals) == 1
    assert refusals[0].startswith("it is a ")


def test_a_file_is_read_whole(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)))
    assert read_regular(file, 256) == bytes(range(256))
    with pytest.raises(ValueError, match="it has 256 bytes, expected at most 255"):
        read_regular(file, 255)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing", 1)
