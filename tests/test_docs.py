"""What README and docs say works: every block of code is carried out, in little, or says why not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.documents import LANGUAGES, Reader, blocks

ROOT = Path(__file__).parents[1]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = {str(page.relative_to(ROOT)): page for page in [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]}


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_code_works_or_says_why_it_is_not_run(name, bench, tmp_path, monkeypatch):
    found = list(blocks(PAGES[name]))
    for block in found:
        assert block.language in LANGUAGES, f"{name}:{block.line} names no language of {LANGUAGES}"
    run = [block for block in found if not block.reason and block.language != "text"]
    if not run:
        return
    for folder in ("suites", "methods"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, bench)
    for block in run:
        try:
            reader.carry_out(block)
        except Exception as error:
            raise AssertionError(f"{name}:{block.line} does not work: {error}") from error


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_points_to_is_there(name):
    text = PAGES[name].read_text(encoding="utf-8")
    made = {"commands.md"}  # by the site
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert target.startswith("http") or target in made or (PAGES[name].parent / target).exists(), (
            target
        )


def test_the_site_builds_without_a_warning(tmp_path):
    """And so without a broken link, and with a page for every command."""
    pytest.importorskip("mkdocs")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path / "site",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "bench compare" in page
    assert re.search(r"<code>--batch-gpu", page)
    reference = (tmp_path / "site" / "reference" / "index.html").read_text(encoding="utf-8")
    assert 'id="bench.plugin.method.Step"' in reference
