"""A file's code as told from its text: comments, docstrings and layout do not count, everything
else does.
"""

from __future__ import annotations

import pytest

from bench.files.code import code_digest, input_digest

CODE = '''
"""A module."""

from math import pi

SCALE = 2.5
"""A scale."""


class Circle:
    """A circle."""

    def area(self, r: float, *, exact: bool = True) -> float:
        """Of radius r."""
        # the usual formula
        text = f"{r:.2f} {pi}"
        return pi * r**2 if exact else float(text.split()[0])
'''


def digest(folder, text: str) -> str:
    file = folder / "code.py"
    file.write_text(text)
    return code_digest(file)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another module, with more to say."""'),
        ('"""A module."""\n', ""),
        ('"""A scale."""', '"""Something else."""'),
        ('        """Of radius r."""\n', ""),
        ("# the usual formula", "# no comment"),
        ("SCALE = 2.5", "SCALE = (2.5)  # in parentheses"),
        ("pi * r**2", "pi*r ** 2"),
        (
            "self, r: float, *, exact: bool = True",
            "self,\n        r: float,\n        *,\n        exact: bool = True,\n    ",
        ),
        ("2.5", "2.50"),
        ('"{r:.2f} {pi}"', "'{r:.2f} {pi}'"),
    ],
)
def test_what_only_explains_or_lays_out_does_not_count(tmp_path, old, new):
    assert old in CODE
    assert digest(tmp_path, CODE.replace(old, new)) == digest(tmp_path, CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.5", "2.6"),
        ("SCALE = 2.5", "SCALE = '2.5'"),
        ("SCALE = 2.5", "SCALE = None"),
        ("pi * r**2", "r**2 * pi"),
        ("r**2", "r**3"),
        ("bool = True", "bool = False"),
        ("bool = True", "bool"),
        (".2f", ".3f"),
        ("class Circle", "class Disc"),
        ("from math import pi", "from cmath import pi"),
        ("def area", "async def area"),
        ("exact: bool", "exactly: bool"),
    ],
)
def test_what_computes_counts(tmp_path, old, new):
    assert old in CODE
    assert digest(tmp_path, CODE.replace(old, new)) != digest(tmp_path, CODE)


def test_a_file_that_does_not_parse_or_is_no_code_is_digested_by_its_bytes(tmp_path):
    assert digest(tmp_path, "def (") != digest(tmp_path, "def ((")
    data = tmp_path / "data.yaml"
    data.write_text("a: 1  # one\n")
    before = input_digest(data)
    data.write_text("a: 1\n")
    assert input_digest(data) != before
    assert input_digest(tmp_path / "code.py") == code_digest(tmp_path / "code.py")
