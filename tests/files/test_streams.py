"""Standard output is for results alone."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import registry
from bench.files.streams import stdout_to_stderr
from tests.helpers.plugins import METHOD, plugin

SPEAK = "import os\nprint('by Python', flush=True)\nos.write(1, b'below it ')\n"


def test_what_is_printed_in_any_way_goes_to_stderr_and_afterwards_to_stdout_again(capfd):
    with stdout_to_stderr():
        print("by Python")
        os.write(1, b"below it ")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    print("afterwards")
    said = capfd.readouterr()
    assert said.out == "afterwards\n"
    assert all(words in said.err for words in ("by Python", "below it", "by a child"))


def test_a_plugin_that_speaks_while_it_is_loaded_leaves_stdout_to_the_results(tmp_path, capfd):
    registry.load_plugin(plugin(tmp_path, SPEAK + METHOD.format(name="speaks")))
    said = capfd.readouterr()
    assert said.out == ""
    assert "below it" in said.err
