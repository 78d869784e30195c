"""A short form of the campaign of faults, ``python -m benchmarks.faults``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SHORT = "--kills 8 --methods sid,dmd --damages 4 --refusals 3 --runs 12 --processes 4 --seed 2"


@pytest.mark.slow
def test_runs_that_are_killed_damaged_refused_or_crowded_end_in_the_right_weights_or_a_sentence(
    tmp_path,
):
    """In a process of its own, since a child forked from this one could compute no gradient."""
    file = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks.faults", *SHORT.split(), "-o", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert file.exists(), done.stderr
    found = json.loads(file.read_text())
    assert {part: result["faults"] for part, result in found.items()} == {
        "kills": [],
        "damage": [],
        "room": [],
        "crowd": [],
    }
    assert done.returncode == 0
    assert found["kills"]["kills"] == 8
    assert sum(found["damage"]["ends"].values()) == 4
    assert found["room"]["refusals"] == 3
    assert found["crowd"]["trained"] == 12 + 1  # the teacher, once
